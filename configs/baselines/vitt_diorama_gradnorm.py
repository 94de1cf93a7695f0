"""The plain network on Diorama, its tasks balanced by GradNorm: an example of a balancing method in a config."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/diorama.py', '../_base_/schedules/small.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TimmBackbone',
        model_name='vit_tiny_patch16_224',
        img_size=_base_.size,
        patch_size=8,
        embed_dim=128,
        depth=8,
        num_heads=4,
    ),
    neck=dict(type='LevelProjection', channels=48),
    decoder=dict(type='PlainDecoder', channels=64, num_blocks=3, block='mlp', upsample=4, head_kernel=3),
)
optim_wrapper = dict(type='BalancingOptimWrapper', balancer=dict(type='GradNorm', alpha=1.5))
