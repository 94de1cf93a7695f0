"""Multi-task baseline on CamVid photographs, from scratch: small ViT, a convolutional branch per task."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/camvid.py', '../_base_/schedules/small.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TimmBackbone',
        model_name='vit_tiny_patch16_224',
        img_size=(192, 240),
        patch_size=8,
        embed_dim=96,
        depth=6,
        num_heads=3,
        out_indices=(1, 3, 4, 5),
    ),
    neck=dict(type='LevelProjection', channels=48),
    decoder=dict(type='PlainDecoder', channels=64, num_blocks=2, block='mlp', upsample=2, head_kernel=3),
)
