"""TaskPrompter, ViT-L, NYUDv2: the released model (513.51 M, 55.90 mIoU). Two GPUs of two images."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/nyud.py', '../_base_/schedules/poly_40k.py']

tasks = dict(boundary=dict(positive_weight=0.95))

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='PromptedViT',
        model_name='vit_large_patch16_384',
        img_size=_base_.crop_size,
        tasks=_base_.tasks,
        windows=4,
        drop_path_rate=0.15,
        pretrained=True,
    ),
    decoder=dict(type='TaskPrompterDecoder', channels=768, width=768, cross_task_reweighting=False),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=1e-5))
