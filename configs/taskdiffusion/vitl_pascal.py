"""TaskDiffusion, ViT-L, PASCAL-Context: the released model (416.31 M, 81.21 mIoU). Two GPUs of two images."""

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
    neck=dict(type='LevelProjection', channels=376),
    decoder=dict(
        type='TaskDiffusionDecoder', steps=3, aux_weight=0.25, label_encoder=dict(separate=('saliency',), scale=0.01)
    ),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=2e-5))
randomness = dict(seed=64)
test_evaluator = dict(reference=_base_.single_task_reference)
