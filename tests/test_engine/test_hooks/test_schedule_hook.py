"""ScheduleHook: a run resumed with another schedule than its checkpoint's goes on at the rates of its own."""

from __future__ import annotations

import re

import pytest

from tests.test_engine.test_hooks.test_checkpoint_hook import log
from tests.test_engine.toy import config, train

HOOK = dict(default_hooks__param_scheduler=dict(type='ScheduleHook'))


def poly(end: int, begin: int = 0) -> dict:
    return dict(type='PolyLR', power=0.9, eta_min=1e-4, begin=begin, end=end, by_epoch=False)


SCHEDULES = {
    'longer': [poly(12)],
    'warm-up added': [dict(type='LinearLR', start_factor=0.1, begin=0, end=3, by_epoch=False), poly(12, begin=3)],
    'another kind between the same ends': [
        dict(type='LinearLR', start_factor=1, end_factor=0.1, end=4, by_epoch=False)
    ],
    'one more after it': [
        poly(4),
        dict(type='LinearLR', start_factor=0.5, end_factor=1, begin=1, end=9, by_epoch=False),
    ],
    'warm-up from zero': [dict(type='WarmupExponentialLR', decay_end=9, warmup=2, by_epoch=False)],
}


def rates(runner) -> list[float]:
    return [group['lr'] for group in runner.optim_wrapper.param_groups]


@pytest.mark.parametrize('case', SCHEDULES)
def test_the_config_holds(tmp_path, case):
    """After a resume at the end of the old schedule, and a rest of 3 iterations, the rate is that of a fresh run."""
    fresh = train(config(tmp_path / 'fresh', 7, param_scheduler=SCHEDULES[case], **HOOK))
    train(config(tmp_path / 'run', 4, param_scheduler=[poly(4)], **HOOK))
    resumed = train(config(tmp_path / 'run', 7, resume=True, param_scheduler=SCHEDULES[case], **HOOK))
    assert rates(resumed) == rates(fresh)
    assert 'goes on as this config has it at iteration 4' in log(tmp_path / 'run')


def test_another_initial_rate(tmp_path):
    whole = rates(train(config(tmp_path / 'fresh', 6, **HOOK)))
    train(config(tmp_path, 4, **HOOK))
    half = train(config(tmp_path, 6, resume=True, optim_wrapper__optimizer__lr=0.005, **HOOK))
    assert rates(half) == pytest.approx([whole[0] / 2])
    assert '0.base_values: [0.01] -> [0.005]' in log(tmp_path)


def test_no_schedule_is_the_configs_rate(tmp_path):
    train(config(tmp_path, 4, param_scheduler=[poly(4)], **HOOK))
    resumed = train(config(tmp_path, 6, resume=True, param_scheduler=None, **HOOK))
    assert rates(resumed) == [0.01] and 'lr is 0.01 from here on, instead of 0.0001' in log(tmp_path)


def test_a_rate_for_every_parameter_is_told_in_short(tmp_path):
    groups = dict(optim_wrapper__paramwise_cfg=dict(bypass_duplicate=True), **HOOK)
    train(config(tmp_path, 4, **groups))
    train(config(tmp_path, 6, resume=True, optim_wrapper__optimizer__lr=0.005, **groups))
    assert re.search(r'base_values: \[0\.01, \.\.\. \d+ numbers\] -> \[0\.005, \.\.\. \d+ numbers\]', log(tmp_path))


def test_the_same_schedule_is_left_alone(tmp_path):
    unbroken = train(config(tmp_path / 'unbroken', 6, **HOOK))
    train(config(tmp_path / 'run', 4, **HOOK))
    resumed = train(config(tmp_path / 'run', 6, resume=True, **HOOK))
    assert rates(resumed) == rates(unbroken) and 'The param_scheduler of this config' not in log(tmp_path / 'run')


def test_weights_alone_take_nothing_of_a_schedule(tmp_path):
    train(config(tmp_path / 'first', 4, **HOOK))
    weights = str(tmp_path / 'first' / 'iter_4.pth')
    second = train(config(tmp_path / 'second', 2, load_from=weights, param_scheduler=[poly(12)], **HOOK))
    assert rates(second) == rates(train(config(tmp_path / 'fresh', 2, param_scheduler=[poly(12)], **HOOK)))


def test_schedules_of_epochs_and_figures_are_left_to_mmengine(tmp_path):
    plateau = [dict(type='ReduceOnPlateauLR', monitor='score', rule='less', patience=10)]
    train(config(tmp_path, 4, param_scheduler=plateau, **HOOK))
    plateau[0]['patience'] = 20
    train(config(tmp_path, 6, resume=True, param_scheduler=plateau, **HOOK))
    assert 'The param_scheduler of this config' not in log(tmp_path)


def test_a_rate_of_zero_stays_zero(tmp_path):
    options = dict(
        optim_wrapper__paramwise_cfg=dict(custom_keys={'bias': dict(lr_mult=0.0)}), param_scheduler=[poly(4)], **HOOK
    )
    runner = train(config(tmp_path, 4, **options))
    by_rate = {group['lr'] for group in runner.optim_wrapper.param_groups}
    assert 0.0 in by_rate and len(by_rate) == 2
    start = train(config(tmp_path / 'start', 1, **options)).model.state_dict()
    for name, value in runner.model.state_dict().items():
        if name.endswith('bias'):
            assert (value == start[name]).all(), name
