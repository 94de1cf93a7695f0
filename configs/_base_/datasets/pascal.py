"""PASCAL-Context in the five-task packing (ATRC), 512x512."""

_base_ = '../tasks/pascal.py'
data_root = 'data/PASCALContext'
crop_size = (512, 512)
batch_size = 2
frames = 1  # single photographs

train_pipeline = [
    dict(type='RandomScale', scale=(0.5, 2.0)),
    dict(type='RandomCrop', size=crop_size, category_task='semseg', max_ratio=0.75),
    dict(type='RandomFlip'),
    dict(type='PhotoMetricDistortion'),
    dict(type='CentredPad', size=crop_size),
    dict(type='PackMTLInputs'),
]
test_pipeline = [dict(type='CentredPad', size=crop_size), dict(type='PackMTLInputs')]

label_setting = 'full'  # or 'onelabel', 'random'
label_map = None  # a file that says which labels there are, instead of a setting
published = dict(type='PublishedLabels', dataset='pascal', setting=label_setting, data_root=data_root)
label_sampler = (
    dict(type='LabelMap', path=label_map)
    if label_map
    else dict(full=dict(type='FullLabels'), onelabel=published, random=published)[label_setting]
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='PascalContext',
        data_root=data_root,
        split='train',
        tasks=_base_.tasks,
        frames=frames,
        pipeline=train_pipeline,
        label_sampler=label_sampler,
    ),
)
val_dataloader = dict(
    batch_size=6,
    num_workers=8,
    persistent_workers=True,
    sampler=dict(type='ExactSampler'),
    dataset=dict(
        type='PascalContext',
        data_root=data_root,
        split='val',
        tasks=_base_.tasks,
        frames=frames,
        pipeline=test_pipeline,
        boundaries='partition',
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='MultiTaskMetric')
test_evaluator = val_evaluator
