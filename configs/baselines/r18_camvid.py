"""Multi-task baseline of the DiffusionMTL paper, small, from scratch on CamVid's photographs.

only_tasks=['semseg'] makes it single-task; label_setting=onelabel|random|full.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/camvid.py', '../_base_/schedules/small.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name='resnet18', channels=(32, 64, 128, 256)),
    neck=dict(type='ConcatFusion', channels=64, stride=4),
    decoder=dict(type='PlainDecoder', channels=64, num_blocks=6, loss_reduction='balanced'),
)
