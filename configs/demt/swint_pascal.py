"""DeMT, Swin-T, PASCAL-Context (33.03 M, 69.71 mIoU).

The published program starts Swin from UperNet weights trained on ADE20K: load them with load_from or init_cfg.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/pascal.py', '../_base_/schedules/atrc.py']

batch_size = 1  # eight processes of one image, as published

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    backbone=dict(
        type='mmseg.SwinTransformer',
        embed_dims=96,
        depths=(2, 2, 6, 2),
        num_heads=(3, 6, 12, 24),
        window_size=7,
        drop_path_rate=0.1,
    ),
    decoder=dict(type='DeMTDecoder'),
)

sync_bn = 'torch'
optim_wrapper = dict(optimizer=dict(lr=1e-3))
