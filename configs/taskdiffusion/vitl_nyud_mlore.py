"""TaskDiffusion with MLoRE branches, ViT-L, NYUDv2: the released model (56.66 mIoU). Two GPUs of two images."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/nyud.py', '../_base_/schedules/poly_40k.py']

grid = tuple(side // 16 for side in _base_.crop_size)

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TimmBackbone',
        model_name='vit_large_patch16_384',
        img_size=_base_.crop_size,
        drop_path_rate=0.15,
        pretrained=True,
    ),
    neck=dict(type='LevelProjection', channels=768),
    decoder=dict(
        type='TaskDiffusionDecoder',
        steps=3,
        aux_weight=1.0,
        label_encoder=dict(scale=0.01),
        aux='level_mask',
        conditions=dict(type='MLoREConditions', ranks=list(range(32, 257, 16)), topk=4, grid=grid),
    ),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=1e-5))
randomness = dict(seed=64)
train_cfg = dict(val_interval=4000)
