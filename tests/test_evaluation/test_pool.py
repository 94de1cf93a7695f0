"""Measurements in other processes: order, bounded waiting, overlap, mistakes."""

from __future__ import annotations

import os
import time

import pytest

from mmmtl.evaluation.metrics.pool import MeasurePool, automatic_workers


def slow_square(number, seconds=0.0):
    time.sleep(seconds)
    return number * number, os.getpid()


def refuse(number):
    raise ValueError(f'{number} is refused')


def test_without_workers_calls_are_made_at_once():
    pool = MeasurePool(0)
    done = list(pool.submit('a', [('x', slow_square, (3,)), ('y', slow_square, (4,))]))
    assert done == [('a', {'x': (9, os.getpid()), 'y': (16, os.getpid())})]
    assert list(pool.finish()) == []


def test_workers_do_not_hold_up_the_caller_and_keep_the_order():
    pool = MeasurePool(1)
    assert list(pool.submit(0, [('n', slow_square, (0,))])) == []
    done, handed_in = [], time.perf_counter()
    for i in range(1, 5):  # as long as there is room nobody waits, however slow the work is
        done += list(pool.submit(i, [('n', slow_square, (i, 0.3))]))
    assert len(done) <= 1 and time.perf_counter() - handed_in < 60
    for i in range(5, 8):  # and then the oldest is waited for: no more than four at a time
        done += list(pool.submit(i, [('n', slow_square, (i, 0.01))]))
    assert len(done) >= 4
    done += list(pool.finish())
    assert [name for name, _ in done] == list(range(8))
    assert [result['n'][0] for _, result in done] == [i * i for i in range(8)]
    assert os.getpid() not in {result['n'][1] for _, result in done}


def test_a_mistake_comes_back_and_the_workers_end():
    pool = MeasurePool(1)
    list(pool.submit('bad', [('n', refuse, (7,))]))
    list(pool.submit('never', [('n', slow_square, (1,))]))
    with pytest.raises(ValueError, match='7 is refused'):
        list(pool.finish())
    assert pool._executor is None and not pool._waiting


def test_without_a_gpu_the_network_has_the_cores(monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert automatic_workers() == 0
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    for devices, cores, wanted in ((1, 16, 4), (8, 32, 2), (1, 1, 1)):
        monkeypatch.setattr(torch.cuda, 'device_count', lambda devices=devices: devices)
        monkeypatch.setattr(os, 'cpu_count', lambda cores=cores: cores)
        assert automatic_workers() == wanted
