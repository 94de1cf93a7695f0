"""MTI-Net on ResNet-18, PASCAL-Context: a reconstruction of the row in the DiffusionMTL paper.

Reported there: 281 M, 589 G. Options: label_setting=full for the other row.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/pascal.py', '../_base_/schedules/diffusionmtl.py']

label_setting = 'onelabel'
batch_size = total_batch = 6

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name='resnet18', pretrained=True),
    decoder=dict(type='MTINetDecoder'),
)

sync_bn = 'torch'
