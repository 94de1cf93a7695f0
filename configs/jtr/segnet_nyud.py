"""JTR as published: SegNet from scratch, three views, NYUDv2 (13 classes).

label_setting=onelabel|random|full. Images stay in [0, 1], as published; its selection of the best epoch on the test
split is not copied.
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/nyud_mtan.py',
    '../_base_/schedules/jtr.py',
    '../_base_/references/nyud_segnet_random.py',
]

flip = 0.0
tasks = dict(normals=dict(loss=dict(type='CosineDistance')))

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    data_preprocessor=dict(
        type='CroppedViews',
        tasks=_base_.tasks,
        views=3,
        smooth=('normals',),
        transforms=[dict(type='RandomImageOps')],
        mean=[0, 0, 0],
        std=[1, 1, 1],
    ),
    backbone=dict(type='SegNet'),
    decoder=dict(type='JTR', decoder=dict(type='ConvHeads', loss_reduction='sample')),
)
# the paper's metrics are those of a random number of labels per image
is_of_paper = _base_.label_setting == 'random' and not _base_.label_map
test_evaluator = dict(reference=_base_.single_task_reference if is_of_paper else None)
