"""DiffusionMTL, Feature Diffusion, ViT-L, PASCAL-Context with all labels: a row of the TaskDiffusion paper's table.

The paper gives the backbone and the figures (80.46 69.13 84.85 14.02 70.96) alone: width and strides are ours.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/pascal.py', '../_base_/schedules/poly_40k.py']

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='TimmBackbone',
        model_name='vit_large_patch16_384',
        img_size=(512, 512),
        drop_path_rate=0.15,
        pretrained=True,
    ),
    neck=dict(type='ConcatFusion', channels=512, stride=8),
    decoder=dict(type='DiffusionMTLDecoder', mode='feature'),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=2e-5))
