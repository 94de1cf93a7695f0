"""TSP-Transformer, ViT-L, NYUDv2: the released model (402.34 M, 55.39 mIoU). Three GPUs of two images."""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/nyud.py', '../_base_/schedules/poly_40k.py']

tasks = dict(boundary=dict(positive_weight=0.95))
total_batch = 6  # over all processes

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TaskPromptViT',
        model_name='vit_large_patch16_384',
        img_size=_base_.crop_size,
        tasks=_base_.tasks,
        prompted='deep',
        drop_path_rate=0.15,
        pretrained=True,
    ),
    decoder=dict(type='TSPDecoder', channels=512, extra_channels=64),
)

sync_bn = 'torch'
optim_wrapper = dict(clip_grad=None)
