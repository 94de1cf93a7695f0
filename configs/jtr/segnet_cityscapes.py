"""JTR as published: SegNet from scratch, three views, Cityscapes (7 classes).

label_setting=onelabel|random|full. Images stay in [0, 1], as published; its selection of the best epoch on the test
split is not copied. Its statistics of inverse depth are those of NYUDv2's depth, and its last view is not mirrored.
"""

_base_ = [
    '../_base_/default_runtime.py',
    '../_base_/datasets/cityscapes.py',
    '../_base_/schedules/jtr.py',
    '../_base_/references/cityscapes_segnet_one.py',
]

batch_size = 16
max_iters = 74400  # 400 epochs of 186 batches

model = dict(
    type='MultiTaskModel',
    tasks=_base_.tasks,
    data_preprocessor=dict(
        type='CroppedViews',
        tasks=_base_.tasks,
        views=3,
        flip=(0.5, 0.0),
        transforms=[dict(type='RandomImageOps')],
        mean=[0, 0, 0],
        std=[1, 1, 1],
    ),
    backbone=dict(type='SegNet'),
    decoder=dict(type='JTR', decoder=dict(type='ConvHeads', loss_reduction='sample')),
)
# the paper's metrics are those of one label per image
is_of_paper = _base_.label_setting == 'onelabel' and not _base_.label_map
test_evaluator = dict(reference=_base_.single_task_reference if is_of_paper else None)
