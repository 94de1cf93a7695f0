"""TaskDiffusion with MLoRE branches, ViT-L, PASCAL-Context: the released model (81.58 mIoU). One GPU of four images."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/pascal.py',
    '../_base_/schedules/poly_40k.py',
    '../_base_/references/pascal_vitl.py',
]

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
    neck=dict(type='LevelProjection', channels=452),
    decoder=dict(
        type='TaskDiffusionDecoder',
        steps=3,
        aux_weight=1.0,
        label_encoder=dict(separate=('saliency',), scale=0.01),
        aux='level_mask',
        conditions=dict(type='MLoREConditions', ranks=list(range(16, 129, 8)), topk=3, grid=grid),
    ),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=2e-5))
randomness = dict(seed=666)
batch_size = 4
test_evaluator = dict(reference=_base_.single_task_reference)
