"""A config small enough to train in a second, and what it leaves behind."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

TASKS = """
tasks = dict(
    semseg=dict(type='SemanticSegmentation',
                classes=['wall', 'floor', 'ceiling', 'rug', 'table', 'box', 'ball', 'figure']),
    depth=dict(type='Depth', max_depth=20.0),
    boundary=dict(type='Boundary', loss_weight=2.0))
"""

DATA = """
_base_ = './tasks.py'
size = (32, 32)
batch = 2
label_sampler = dict(type='FullLabels')
train_pipeline = [dict(type='RandomFlip'), dict(type='PackMTLInputs')]
test_pipeline = [dict(type='PackMTLInputs')]
train_dataloader = dict(
    batch_size=batch, num_workers=0, sampler=dict(type='ResumableSampler'),
    dataset=dict(type='Diorama', length=6, size=size, tasks=_base_.tasks, pipeline=train_pipeline,
                 label_sampler=label_sampler))
val_dataloader = dict(
    batch_size=batch, num_workers=0, sampler=dict(type='ExactSampler'),
    dataset=dict(type='Diorama', length=3, scene_seed=1, size=size, tasks=_base_.tasks, pipeline=test_pipeline,
                 test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(type='MultiTaskMetric')
test_evaluator = val_evaluator
"""

MODEL = """
_base_ = ['./data.py']
default_scope = 'mmmtl'
max_iters = 4
model = dict(
    type='MultiTaskModel', tasks=_base_.tasks,
    backbone=dict(type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=_base_.size, patch_size=8,
                  embed_dim=24, depth=2, num_heads=2, out_indices=(0, 1)),
    neck=dict(type='LevelProjection', channels=12),
    decoder=dict(type='PlainDecoder', channels=12, num_blocks=1))
train_cfg = dict(type='ResumableTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3))
param_scheduler = [dict(type='PolyLR', end=max_iters, by_epoch=False)]
default_hooks = dict(
    logger=dict(type='LoggerHook', interval=1, log_metric_by_epoch=False),
    checkpoint=dict(type='AtomicCheckpointHook', interval=max_iters // 2),
    panels=dict(type='PanelHook', num_val=1))
custom_hooks = [dict(type='RandomStateHook')]
visualizer = dict(type='PanelVisualizer', vis_backends=[dict(type='LocalVisBackend')])
log_processor = dict(by_epoch=False)
randomness = dict(seed=0)
"""


def write_config(folder: Path) -> str:
    """Write the config and its bases into ``folder``; returns its path."""
    for name, text in (('tasks', TASKS), ('data', DATA), ('tiny', MODEL)):
        (folder / f'{name}.py').write_text(text)
    return str(folder / 'tiny.py')


@pytest.fixture
def tiny_config(tmp_path) -> str:
    """Path of a config that trains in a second."""
    return write_config(tmp_path)


@pytest.fixture(scope='session')
def trained(tmp_path_factory) -> Path:
    """Work dir of the tiny config after four iterations; ``tiny.py`` lies beside it."""
    from mmmtl.apis import train
    from mmmtl.config import load_config

    folder = tmp_path_factory.mktemp('trained')
    threads = torch.get_num_threads()
    train(load_config(write_config(folder)), str(folder / 'work'))
    torch.set_num_threads(threads)
    return folder / 'work'
