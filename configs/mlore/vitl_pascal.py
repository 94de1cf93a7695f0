"""MLoRE, ViT-L, PASCAL-Context: the released model (407.69 M, 81.41 mIoU). Two GPUs of two images."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/pascal.py',
    '../_base_/schedules/poly_40k.py',
    '../_base_/references/pascal_vitl.py',
]

tasks = dict(boundary=dict(positive_weight=0.925))

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
    neck=dict(type='LevelProjection', channels=452),
    decoder=dict(
        type='MLoREDecoder',
        conditions=dict(
            type='MLoREConditions',
            grid=[side // 16 for side in _base_.crop_size],
            ranks=list(range(16, 129, 8)),
            own_rank=72,
            topk=9,
            balance_weight=3e-4,
        ),
    ),
)

sync_bn = 'torch'
test_evaluator = dict(reference=_base_.single_task_reference)
