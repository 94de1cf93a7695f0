"""MLoRE, ViT-L, NYUDv2: the released model (551.63 M, 55.96 mIoU). Two GPUs of two images."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/nyud.py', '../_base_/schedules/poly_40k.py']

tasks = dict(boundary=dict(positive_weight=0.88))

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
        type='MLoREDecoder',
        conditions=dict(
            type='MLoREConditions',
            grid=[side // 16 for side in _base_.crop_size],
            ranks=list(range(16, 241, 16)),
            own_rank=16,
            topk=9,
            pre_softmax=True,
            balance_weight=5e-4,
        ),
    ),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=1e-5))
