"""Multi-task baseline of the DiffusionMTL paper on an ImageNet-pretrained MobileNetV2, on CamVid's photographs.

The weights are a file of torchvision's, model.backbone.checkpoint=PATH. label_setting=onelabel|random|full.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/camvid.py', '../_base_/schedules/small.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TimmBackbone', model_name='mobilenetv2_100', checkpoint='checkpoints/mobilenet_v2-b0353104.pth'
    ),
    neck=dict(type='ConcatFusion', channels=64, stride=4),
    decoder=dict(type='PlainDecoder', channels=64, num_blocks=6, loss_reduction='balanced'),
)
