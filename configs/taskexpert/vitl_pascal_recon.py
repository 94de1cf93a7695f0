"""TaskExpert, ViT-L, PASCAL-Context: a reconstruction (419.5 M, 619 G; reported 420 M, 622 G, 80.64 mIoU)."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/pascal.py',
    '../_base_/schedules/poly_40k.py',
    '../_base_/references/pascal_vitl.py',
]

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
    decoder=dict(type='TaskExpertDecoder', width=452, experts=8),
)

sync_bn = 'torch'
test_evaluator = dict(reference=_base_.single_task_reference)
