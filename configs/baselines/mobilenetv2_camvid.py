"""Multi-task baseline of the DiffusionMTL paper on an ImageNet-pretrained MobileNetV2, on CamVid's photographs.

The weights are a file of torchvision's, model.backbone.checkpoint=PATH. label_setting=onelabel|random|full.
"""

_base_ = 'r18_camvid.py'

model = dict(
    backbone=dict(
        _delete_=True,
        type='TimmBackbone',
        model_name='mobilenetv2_100',
        checkpoint='checkpoints/mobilenet_v2-b0353104.pth',
    )
)
