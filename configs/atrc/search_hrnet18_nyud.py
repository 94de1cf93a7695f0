"""ATRC's search of genotypes, HRNet-W18-small, NYUDv2: the last line of the log is the argument of the training proper."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/nyud.py',
    '../_base_/schedules/atrc.py',
    '../_base_/models/hrnet.py',
]

crop_size = (425, 560)
batch_size = 8
tasks = dict(boundary=dict(positive_weight=0.8))

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=_base_.hrnet,
    decoder=dict(type='ATRCSearchDecoder', steps=_base_.max_iters),
)

optim_wrapper = dict(
    constructor='SeparateOptimizersConstructor',
    clip_grad=dict(max_norm=10),
    paramwise_cfg=dict(separate={'decoder.alphas': dict(type='Adam', lr=5e-4, weight_decay=0)}),
)
sync_bn = 'torch'
