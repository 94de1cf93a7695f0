"""DiffusionMTL, Feature Diffusion, ResNet-18, NYUDv2 (13 classes).

label_setting=onelabel|random|full.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/nyud_mtan.py', '../_base_/schedules/diffusionmtl.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name='resnet18', pretrained=True),
    neck=dict(type='ConcatFusion', channels=512, stride=8),
    decoder=dict(type='DiffusionMTLDecoder', mode='feature'),
)

sync_bn = 'torch'
train_cfg = dict(max_iters=39600, val_interval=3960)
param_scheduler = [dict(type='EpochPolyLR', epochs=200, epoch_length=198, power=0.9, by_epoch=False)]
