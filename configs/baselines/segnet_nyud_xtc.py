"""Cross-task consistency as published (MTPSL): SegNet from scratch, two views, NYUDv2 (13 classes).

label_setting=onelabel|random|full. Images stay in [0, 1], as published; selection of the best epoch on the test split is
not copied.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/nyud_mtan.py', '../_base_/schedules/mtpsl.py']

batch_size = 2
flip = 0.0
tasks = dict(normals=dict(loss=dict(type='CosineDistance')))

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    data_preprocessor=dict(type='CroppedViews', tasks=_base_.tasks, smooth=('normals',), mean=[0, 0, 0], std=[1, 1, 1]),
    backbone=dict(type='SegNet'),
    decoder=dict(type='XTC', weight=2.0, views=2, decoder=dict(type='ConvHeads', loss_reduction='sample')),
)
