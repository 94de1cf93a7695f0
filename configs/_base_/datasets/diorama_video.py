"""Pairs of frames of Diorama for latent models: one task per update, images in [-1, 1]."""

_base_ = '../tasks/diorama_video.py'
size = (64, 64)

train_pipeline = [dict(type='RandomFlip'), dict(type='PackMTLInputs')]
test_pipeline = [dict(type='PackMTLInputs')]

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ResumableSampler'),
    batch_sampler=dict(type='TaskCycleBatchSampler', accumulation=1),
    dataset=dict(type='Diorama', length=8000, size=size, scene_seed=0, tasks=_base_.tasks, pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='ExactSampler'),
    dataset=dict(
        type='Diorama', length=100, size=size, scene_seed=1, tasks=_base_.tasks, pipeline=test_pipeline, test_mode=True
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='MultiTaskMetric')
test_evaluator = val_evaluator
