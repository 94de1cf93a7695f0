"""A small DiffusionMTL on an ImageNet-pretrained MobileNetV2, on CamVid's photographs.

Options: mode=feature or prediction, label_setting=onelabel, random or full.
The weights are a file of torchvision's, model.backbone.checkpoint=PATH.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/camvid.py', '../_base_/schedules/small.py']

mode = 'feature'
label_setting = 'onelabel'

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TimmBackbone', model_name='mobilenetv2_100', checkpoint='checkpoints/mobilenet_v2-b0353104.pth'
    ),
    neck=dict(type='ConcatFusion', channels=64, stride=4),
    decoder=dict(type='DiffusionMTLDecoder', mode=mode, denoiser=dict(type='CrossDenoiser', hidden=64)),
)
