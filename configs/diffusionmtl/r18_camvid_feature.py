"""A small DiffusionMTL, Feature Diffusion, from scratch on CamVid's photographs.

label_setting=onelabel|random|full.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/camvid.py', '../_base_/schedules/small.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name='resnet18', channels=(32, 64, 128, 256)),
    neck=dict(type='ConcatFusion', channels=64, stride=4),
    decoder=dict(type='DiffusionMTLDecoder', mode='feature', hidden=64),
)
