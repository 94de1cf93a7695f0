"""Numbers that cannot be meant are told with their place."""

from __future__ import annotations

import pytest

from mmmtl.config import load_config
from mmmtl.engine.limits import impossible_numbers

ODD = [
    ('train_dataloader.batch_size', -4),
    ('val_dataloader.batch_size', 2.5),
    ('train_dataloader.num_workers', 1000),
    ('train_dataloader.dataset.length', 0),
    ('optim_wrapper.clip_grad', dict(max_norm=-1)),
    ('optim_wrapper.optimizer.lr', -0.1),
    ('optim_wrapper.optimizer.lr', float('nan')),
    ('optim_wrapper.optimizer.weight_decay', -1e-4),
    ('train_cfg.max_iters', 0),
    ('train_cfg.val_interval', -10),
    ('param_scheduler.0.begin', -1),
    ('default_hooks.logger.interval', 0),
    ('default_hooks.checkpoint.interval', -7),
    ('default_hooks.checkpoint.max_keep_ckpts', 0),
    ('model.decoder.channels', -12),
    ('model.backbone.drop_path_rate', 1.5),
    ('randomness.seed', -1),
]


@pytest.mark.parametrize(('place', 'value'), ODD)
def test_the_place_and_what_is_possible_are_told(tiny_config, place, value):
    [line] = impossible_numbers(load_config(tiny_config, {place: value})._cfg_dict)
    shown = next(iter(value.values())) if isinstance(value, dict) else value
    assert line.startswith(f'{place}') and ' must be a' in line and line.endswith(f', got {shown!r}')


def test_several_are_told_together(tiny_config):
    options = {'optim_wrapper.optimizer.lr': -1, 'train_dataloader.batch_size': 0}
    assert len(impossible_numbers(load_config(tiny_config, options)._cfg_dict)) == 2
