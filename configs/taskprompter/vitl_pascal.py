"""TaskPrompter, ViT-L, PASCAL-Context: the released model (401.10 M, 80.79 mIoU). Two GPUs of two images."""

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
        type='PromptedViT',
        model_name='vit_large_patch16_384',
        img_size=_base_.crop_size,
        tasks=_base_.tasks,
        windows=1,
        drop_path_rate=0.15,
        pretrained=True,
    ),
    decoder=dict(type='TaskPrompterDecoder', channels=300, width=350),
)

sync_bn = 'torch'
test_evaluator = dict(reference=_base_.single_task_reference)
