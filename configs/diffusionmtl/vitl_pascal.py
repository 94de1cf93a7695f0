"""DiffusionMTL, ViT-L, PASCAL-Context with all labels: a row of the TaskDiffusion paper's Table 1.

The width is the one at which it has the paper's 381 M parameters. Options: mode=feature or prediction,
label_setting=full, onelabel or random.
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/pascal.py',
    '../_base_/schedules/poly_40k.py',
    '../_base_/references/pascal_vitl.py',
]

mode = 'feature'

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
    neck=dict(type='ConcatFusion', channels=376, stride=8),
    decoder=dict(type='DiffusionMTLDecoder', mode=mode, denoiser=dict(type='CrossDenoiser', hidden=376)),
)

sync_bn = 'torch'
test_evaluator = dict(reference=_base_.single_task_reference)
