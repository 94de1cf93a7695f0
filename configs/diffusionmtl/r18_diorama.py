"""A small DiffusionMTL, from scratch on Diorama.

Options: mode=feature or prediction, label_setting=onelabel, random or full.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/diorama.py', '../_base_/schedules/small.py']

mode = 'feature'
label_setting = 'onelabel'

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name='resnet18', channels=(32, 64, 128, 256)),
    neck=dict(type='ConcatFusion', channels=64, stride=4),
    decoder=dict(type='DiffusionMTLDecoder', mode=mode, denoiser=dict(type='CrossDenoiser', hidden=64)),
)
