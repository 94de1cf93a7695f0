"""Cross-task consistency as published (MTPSL): SegNet from scratch, two views, Cityscapes (7 classes).

label_setting=onelabel|random|full. Images stay in [0, 1], as published; selection of the best epoch on the test split is
not copied.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/cityscapes.py', '../_base_/schedules/mtpsl.py']

max_iters = 74400  # 200 epochs of 372 batches

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    data_preprocessor=dict(type='CroppedViews', tasks=_base_.tasks, flip=0.5, mean=[0, 0, 0], std=[1, 1, 1]),
    backbone=dict(type='SegNet'),
    decoder=dict(type='XTC', weight=1.0, views=2, decoder=dict(type='ConvHeads', loss_reduction='sample')),
)

optim_wrapper = dict(paramwise_cfg=dict(custom_keys={'.gamma': dict(lr_mult=0.1), '.beta': dict(lr_mult=0.1)}))
