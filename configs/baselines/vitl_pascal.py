"""Multi-task baseline of the TaskDiffusion paper (Tables 3, 7); only_tasks=['depth'] makes it a single-task one."""

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
    decoder=dict(type='PlainDecoder', channels=376, num_blocks=2, block='conv', mix='task', head_kernel=3),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=2e-5))
test_evaluator = dict(reference=_base_.single_task_reference)
