"""Every field of a checkpoint that a resumed run reads is looked at before it is used."""

from __future__ import annotations

import copy
import re

import pytest
import torch

from mmmtl.engine.run_state import find_difference, find_fault
from mmmtl.utils.models import unwrap_model
from tests.test_engine.toy import config, train


@pytest.fixture(scope='module')
def run(tmp_path_factory):
    """A runner after six iterations, and its checkpoint."""
    folder = tmp_path_factory.mktemp('run')
    runner = train(config(folder, 6))
    return runner, torch.load(folder / 'iter_6.pth', weights_only=True)


def first_fault(runner, content):
    return find_fault(content) or find_difference(content, runner.optim_wrapper, unwrap_model(runner.model))


def test_what_a_run_has_written_is_right(run):
    assert first_fault(*run) is None


@pytest.mark.parametrize(
    ('place', 'value', 'told'),
    [
        ('meta.iter', -1, 'meta.iter: expected a whole number of at least 0, found -1'),
        ('meta.iter', '6', "meta.iter: .*found '6'"),
        ('meta.epoch', True, 'meta.epoch: .*found True'),
        ('meta.seed', 'five', 'meta.seed: '),
        ('meta', [1], r'meta: expected a mapping, found \[1\]'),
        ('state_dict.body.0.weight', 3, 'state_dict: '),
        ('message_hub.runtime_info.best_score', 'high', "runtime_info.best_score: expected a number, found 'high'"),
        ('message_hub.runtime_info.best_score', float('nan'), 'best_score: expected a number, found nan'),
        ('message_hub.runtime_info.best_ckpt', 7, 'best_ckpt: expected a path, or None, found 7'),
        ('message_hub.runtime_info.keep_ckpt_ids', ['../../x'], 'keep_ckpt_ids: expected a list of whole numbers'),
        ('message_hub.runtime_info.train_stream.consumed', -3, 'train_stream.consumed: '),
        ('message_hub.runtime_info.nonfinite_skipped', 'a', 'nonfinite_skipped: '),
        ('message_hub.log_scalars.train/loss', 3.0, 'log_scalars: expected log histories by name'),
        ('message_hub.resumed_keys', [], 'resumed_keys: '),
        ('optimizer.param_groups.0.lr', 'high', "optimizer.param_groups.0.lr: .*found 'high'"),
        ('optimizer.param_groups.0.lr', -1.0, 'param_groups.0.lr: expected a number of at least 0, found -1'),
        ('optimizer.param_groups.0.params', [0], 'no group has such a parameter'),
        ('optimizer.param_groups.0.betas', 'no', 'param_groups.0.betas: expected something like'),
        ('optimizer.param_groups.0.volume', 11, 'param_groups.0.volume: AdamW has no such option'),
        (
            'optimizer.state.0.strange',
            1.0,
            r"optimizer.state.0.strange: AdamW keeps \['exp_avg', 'exp_avg_sq', 'step'\]",
        ),
        ('optimizer.state.0.exp_avg', torch.ones(2), r'state.0.exp_avg: expected a tensor of \(16, 4\)'),
        ('optimizer.state.0.step', -5, 'state.0.step: expected a count of steps'),
        ('optimizer.more', 1, 'optimizer.more is not known'),
        ('param_schedulers.0.last_step', 'six', "param_schedulers.0.last_step: .*found 'six'"),
        ('param_schedulers.0._last_value', [None], 'param_schedulers.0._last_value: expected a list of numbers'),
        ('param_schedulers.0.base_values', 0.1, 'param_schedulers.0.base_values: '),
        ('random_state.ranks.0.numpy', ['MT19937', torch.zeros(3)], 'random_state.ranks.0.numpy: '),
        ('random_state.ranks.0.python', [3, 'x', None], 'random_state.ranks.0.python: '),
        ('random_state.ranks.0.torch', torch.zeros(3), 'random_state.ranks.0.torch: '),
        ('gathered_gradients', [{'body.9.weight': torch.zeros(3)}], r'body.9.weight: .*no parameter here'),
        ('gathered_gradients', [{'body.0.bias': torch.zeros(3)}], r'body.0.bias: a gradient of \(3,\), \(16,\) here'),
        ('ema_state_dict', {'a': 'b'}, 'ema_state_dict: '),
    ],
)
def test_the_field_is_named(run, place, value, told):
    runner, content = run
    inner, keys = copy.deepcopy(content), place.split('.')
    changed = inner
    keys = ['state_dict', 'body.0.weight'] if place.startswith('state_dict') else keys
    for key in keys[:-1]:
        inner = inner[int(key) if key.isdigit() else key]
    inner[keys[-1]] = value
    assert re.search(told, first_fault(runner, changed) or '')


@pytest.mark.parametrize(
    'optimizer', [dict(type='SGD', lr=0.1, momentum=0.9), dict(type='SGD', lr=0.1), dict(type='Adagrad', lr=0.1)]
)
def test_states_of_optimisers_of_all_kinds(tmp_path, optimizer):
    folder = tmp_path / 'run'
    runner = train(config(folder, 2, optim_wrapper__optimizer=dict(optimizer, _delete_=True)))
    content = torch.load(folder / 'iter_2.pth', weights_only=True)
    assert first_fault(runner, content) is None
    content['optimizer']['param_groups'][0]['amsgrad'] = True
    assert 'amsgrad: ' in first_fault(runner, content)
