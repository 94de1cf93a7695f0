"""ATRC, HRNet-W18-small, PASCAL-Context with the released genotype (5.38 M)."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/pascal.py',
    '../_base_/schedules/atrc.py',
    '../_base_/models/hrnet.py',
]

batch_size = 8

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=_base_.hrnet,
    decoder=dict(
        type='ATRCDecoder',
        genotypes=dict(semseg='33404', human_parts='33434', saliency='33343', normals='33334', boundary='33313'),
    ),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=0.005))
