"""WatchHook: what it tells of waits and of leaping losses, and when it says nothing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.runner import Runner

from mmmtl.engine.hooks import WatchHook, watch_hook
from tests.test_engine.toy import config


@pytest.fixture()
def watched(monkeypatch):
    """A function that lets iterations pass: (seconds of waiting, seconds of work, loss) each; gives what was told."""
    clock, told, logged = [0.0], [], []
    monkeypatch.setattr(watch_hook.time, 'perf_counter', lambda: clock[0])

    def run(iterations, **options):
        hook = WatchHook(**options)
        logger = SimpleNamespace(warning=told.append, info=told.append)
        hub = SimpleNamespace(update_scalar=lambda name, value: logged.append((name, round(value, 6))))
        runner = SimpleNamespace(iter=0, logger=logger, message_hub=hub, model=None)
        hook.before_train(runner)
        for wait, work, loss in iterations:
            clock[0] += wait
            hook.before_train_iter(runner, runner.iter)
            clock[0] += work
            hook.after_train_iter(runner, runner.iter, outputs=dict(loss_depth=torch.tensor(loss), lr=1.0))
            runner.iter += 1
        hook.after_train(runner)
        return told

    run.logged = logged
    return run


def test_a_smooth_run_is_told_in_one_line(watched):
    assert watched([(0.1, 0.9, 1.0)] * 8, interval=4) == ['10% of the training went into waiting for data.']


def test_waiting_for_data(watched):
    told = watched([(0.9, 0.1, 1.0)] * 4, interval=4)
    assert told[0].startswith('90% of the last 4 iterations went into waiting for data')


def test_the_share_is_logged(watched):
    watched([(0.25, 0.75, 1.0)] * 8, interval=4)
    assert watched.logged == [('train/data_share', 0.25)] * 2


def test_a_stall(watched):
    told = watched([(0.1, 1.0, 1.0)] * 3 + [(30.0, 1.0, 1.0)], interval=4, share=1.0)
    assert told[0] == 'Iteration 4 waited 30 s for its batch (usually 0.10 s).'


def test_saving_is_no_waiting(tmp_path):
    hooks = [dict(type='WatchHook'), dict(type='AtomicCheckpointHook', interval=1)]
    runner = Runner.from_cfg(config(tmp_path, custom_hooks=hooks[:1], default_hooks=dict(checkpoint=hooks[1])))
    names = [type(hook).__name__ for hook in runner.hooks]
    assert names.index('WatchHook') > names.index('AtomicCheckpointHook')


def test_a_loss_that_leaps(watched):
    told = watched([(0.0, 1.0, 1.0)] * 4 + [(0.0, 1.0, 50.0), (0.0, 1.0, 2.0)], interval=4)
    assert told[0] == 'Iteration 5: loss_depth is 50, 50 times its median of the last 4 iterations.'
    assert len(told) == 2
