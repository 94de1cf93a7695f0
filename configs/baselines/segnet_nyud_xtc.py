"""Cross-task consistency as published (MTPSL): SegNet from scratch, two views, NYUDv2 (13 classes).

label_setting=onelabel|random|full. The published program leaves images in [0, 1]; selection of the best epoch on the
test split is not copied.
"""

_base_ = ['../_base_/default_runtime.py', '../_base_/datasets/nyud_mtan.py', '../_base_/schedules/mtpsl.py']

model = dict(
    type='MultiTaskModel',
    tasks=dict(_base_.tasks, normals=dict(type='SurfaceNormals', loss=dict(type='CosineDistance'))),
    data_preprocessor=dict(type='CroppedViews', tasks=_base_.tasks, flip=0.0),
    backbone=dict(type='SegNet'),
    decoder=dict(type='XTC', weight=2.0, views=2, decoder=dict(type='ConvHeads', loss_reduction='sample')),
)

train_dataloader = dict(batch_size=2)
