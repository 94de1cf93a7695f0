"""Multi-task baseline of the DiffusionMTL paper, ResNet-18, PASCAL-Context.

only_tasks=['semseg'] makes it single-task; label_setting=onelabel|random|full.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/pascal.py', '../_base_/schedules/diffusionmtl.py']

batch_size = total_batch = 6

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name='resnet18', pretrained=True),
    neck=dict(type='ConcatFusion', channels=512, stride=8),
    decoder=dict(type='PlainDecoder', channels=512, num_blocks=6, loss_reduction='balanced'),
)

sync_bn = 'torch'
