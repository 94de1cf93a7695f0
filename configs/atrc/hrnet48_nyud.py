"""ATRC, HRNet-W48, NYUDv2 with the released genotype (72.48 M, 46.33 mIoU)."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/nyud.py',
    '../_base_/schedules/atrc.py',
    '../_base_/models/hrnet.py',
]

hrnet_width = 48
crop_size = (425, 560)
batch_size = 8
tasks = dict(boundary=dict(positive_weight=0.8))

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=_base_.hrnet,
    decoder=dict(type='ATRCDecoder', genotypes=dict(semseg='3004', depth='4114', normals='4114', boundary='3333')),
)

sync_bn = 'torch'
