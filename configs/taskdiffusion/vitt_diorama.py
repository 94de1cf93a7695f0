"""A small TaskDiffusion from scratch on Diorama: six tasks, minutes on two CPU cores."""

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
    # its enlarged maps are small: keeping them saves a tenth of the time
    decoder=dict(type='TaskDiffusionDecoder', steps=3, upsample=4, aux_weight=0.25, recompute_tails=False),
)

optim_wrapper = dict(optimizer=dict(fused=True))
