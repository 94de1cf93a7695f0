"""TSP-Transformer, ViT-L, PASCAL-Context: the released model (423.24 M, 81.48 mIoU). Three GPUs of two images."""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/pascal.py',
    '../_base_/schedules/poly_40k.py',
    '../_base_/references/pascal_vitl.py',
]

total_batch = 6  # over all processes

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TaskPromptViT',
        model_name='vit_large_patch16_384',
        img_size=_base_.crop_size,
        tasks=_base_.tasks,
        prompted='shallow',
        drop_path_rate=0.15,
        pretrained=True,
    ),
    decoder=dict(type='TSPDecoder', channels=512, extra_channels=64),
)

sync_bn = 'torch'
optim_wrapper = dict(clip_grad=None)
test_evaluator = dict(reference=_base_.single_task_reference)
