"""Cross-task consistency on an ImageNet-pretrained MobileNetV2, on CamVid's photographs.

The weights are a file of torchvision's, model.backbone.checkpoint=PATH. label_setting=onelabel|random|full.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/camvid.py', '../_base_/schedules/small.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TimmBackbone', model_name='mobilenetv2_100', checkpoint='checkpoints/mobilenet_v2-b0353104.pth'
    ),
    decoder=dict(
        type='XTC',
        weight=2.0,
        filters=(16, 32, 64, 128, 256),
        neck=dict(type='ConcatFusion', channels=64, stride=4),
        decoder=dict(type='PlainDecoder', channels=64, num_blocks=6, loss_reduction='balanced'),
    ),
)

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.gamma': dict(lr_mult=10), '.beta': dict(lr_mult=10)}))
