"""Pairs of frames of Diorama: seven tasks, one of them per update."""

_base_ = '../tasks/diorama_video.py'
data_root = None  # a folder to keep rendered scenes in
crop_size = (64, 64)
size = crop_size
batch_size = 8
frames = None  # of a sample: 1 or 2; None: a pair where a label that is asked for needs one
cycle_tasks = True  # one task per update; False: every image with all its labels

train_pipeline = [dict(type='RandomFlip'), dict(type='PackMTLInputs')]
test_pipeline = [dict(type='PackMTLInputs')]

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
    batch_sampler=dict(type='TaskCycleBatchSampler', accumulation=1) if cycle_tasks else None,
    dataset=dict(
        type='Diorama',
        length=8000,
        size=size,
        scene_seed=0,
        tasks=_base_.tasks,
        frames=frames,
        cache_dir=data_root,
        pipeline=train_pipeline,
        label_sampler=label_sampler,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ExactSampler'),
    dataset=dict(
        type='Diorama',
        length=100,
        size=size,
        scene_seed=1,
        tasks=_base_.tasks,
        frames=frames,
        cache_dir=data_root,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='MultiTaskMetric')
test_evaluator = val_evaluator

# photographs and videos at their own aspect ratio, as large as the scenes of the training
infer_pipeline = [dict(type='Resize', size=size, keep_ratio=True, multiple=8), dict(type='PackMTLInputs')]
