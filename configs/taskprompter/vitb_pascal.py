"""TaskPrompter, ViT-B, PASCAL-Context: the released model (418.33 M, 78.63 mIoU). Two GPUs of two images."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/pascal.py', '../_base_/schedules/poly_40k.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='PromptedViT',
        model_name='vit_base_patch16_384',
        img_size=_base_.crop_size,
        tasks=_base_.tasks,
        windows=4,
        drop_path_rate=0.15,
        pretrained=True,
    ),
    decoder=dict(type='TaskPrompterDecoder', channels=780, width=1024),
)

sync_bn = 'torch'
