"""NYUDv2 as MTAN packs it (795 + 654 images of 288x384, 13 classes): the benchmark of MTPSL and DiffusionMTL."""

_base_ = '../tasks/nyud13.py'
data_root = 'data/nyud_mtan'
crop_size = (288, 384)
batch_size = 4
frames = 1  # single photographs
flip = 0.5  # probability that a training image is mirrored; 0 in MTPSL's program

train_pipeline = [
    dict(type='Resize', size=crop_size),
    dict(type='RandomScaleCrop', scales=(1.0, 1.2, 1.5), smooth=('normals',)),
    dict(type='RandomFlip', prob=flip),
    dict(type='PackMTLInputs'),
]
test_pipeline = [dict(type='Resize', size=crop_size), dict(type='PackMTLInputs')]

label_setting = 'full'  # or 'onelabel', 'random'
label_map = None  # a file that says which labels there are, instead of a setting
published = dict(type='PublishedLabels', dataset='nyud', setting=label_setting, data_root=data_root)
label_sampler = (
    dict(type='LabelMap', path=label_map)
    if label_map
    else dict(full=dict(type='FullLabels'), onelabel=published, random=published)[label_setting]
)
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    dataset=dict(
        type='NYUDMTAN',
        data_root=data_root,
        split='train',
        tasks=_base_.tasks,
        frames=frames,
        pipeline=train_pipeline,
        label_sampler=label_sampler,
    ),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='ExactSampler'),
    dataset=dict(
        type='NYUDMTAN',
        data_root=data_root,
        split='val',
        tasks=_base_.tasks,
        frames=frames,
        pipeline=test_pipeline,
        test_mode=True,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='MultiTaskMetric')
test_evaluator = val_evaluator

# photographs at their own aspect ratio
infer_pipeline = [dict(type='Resize', size=crop_size, keep_ratio=True, multiple=32), dict(type='PackMTLInputs')]
