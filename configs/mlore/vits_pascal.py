"""MLoRE, ViT-S, PASCAL-Context: of the published configs, without weights (42.18 M). Two GPUs of two images."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/pascal.py', '../_base_/schedules/poly_40k.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TimmBackbone',
        model_name='vit_small_patch16_384',
        img_size=_base_.crop_size,
        drop_path_rate=0.15,
        pretrained=True,
    ),
    neck=dict(type='LevelProjection', channels=192),
    decoder=dict(
        type='MLoREDecoder',
        conditions=dict(
            type='MLoREConditions',
            grid=[side // 16 for side in _base_.crop_size],
            ranks=list(range(8, 65, 4)),
            own_rank=32,
            topk=9,
            balance_weight=1e-4,
        ),
    ),
)

sync_bn = 'torch'
