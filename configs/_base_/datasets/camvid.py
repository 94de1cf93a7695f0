"""CamVid (367 training, 233 test photographs; 11 classes), at 240x180 pixels."""

_base_ = '../tasks/camvid.py'
data_root = 'data/camvid'
crop_size = (160, 160)
batch_size = 8
frames = 1  # single photographs

train_pipeline = [
    dict(type='RandomScale', scale=(0.75, 1.5)),
    dict(type='RandomCrop', size=crop_size, category_task='semseg'),
    dict(type='RandomFlip'),
    dict(type='PhotoMetricDistortion'),
    dict(type='CentredPad', size=crop_size),
    dict(type='PackMTLInputs'),
]
test_pipeline = [dict(type='CentredPad', multiple=16), dict(type='PackMTLInputs')]

label_setting = 'full'  # or 'onelabel', 'random'
label_map = None  # a file that says which labels there are, instead of a setting
label_sampler = (
    dict(type='LabelMap', path=label_map)
    if label_map
    else dict(type=dict(full='FullLabels', onelabel='OneLabel', random='RandomLabels')[label_setting])
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='CamVid',
        data_root=data_root,
        split='train',
        tasks=_base_.tasks,
        frames=frames,
        pipeline=train_pipeline,
        label_sampler=label_sampler,
    ),
)
val_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ExactSampler'),
    dataset=dict(
        type='CamVid',
        data_root=data_root,
        split='val',
        tasks=_base_.tasks,
        frames=frames,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = dict(
    batch_size=4,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ExactSampler'),
    dataset=dict(
        type='CamVid',
        data_root=data_root,
        split='test',
        tasks=_base_.tasks,
        frames=frames,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
val_evaluator = dict(type='MultiTaskMetric')
test_evaluator = val_evaluator
