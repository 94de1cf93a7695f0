"""DiffusionMTL, Feature Diffusion, ResNet-50, PASCAL-Context.

label_setting=onelabel|random|full.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/pascal.py', '../_base_/schedules/diffusionmtl.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name='resnet50', pretrained=True),
    neck=dict(type='ConcatFusion', channels=512, stride=8),
    decoder=dict(type='DiffusionMTLDecoder', mode='feature'),
)

sync_bn = 'torch'
train_dataloader = dict(batch_size=6)
