"""Signals end a run with a checkpoint, and a rank that hangs does not hold up the others."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
import torch

from mmmtl.compat import init_cpu_dist
from tests.distributed import free_port
from tests.drills.processes import fork, fork_ranks, wait, wait_for
from tests.drills.runs import equal, run, run_rank, whole  # noqa: F401 - a fixture
from tests.test_engine.toy import config

RANDOM, INTERRUPT = dict(type='RandomStateHook'), dict(type='InterruptHook')
SLOW = dict(custom_hooks=[RANDOM, dict(type='SlowHook'), INTERRUPT])


def log(folder: Path) -> str:
    return ''.join(path.read_text() for path in folder.rglob('*.log'))


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 143)])
def test_signals(tmp_path, drill, whole, number, status):  # noqa: F811
    """The iteration is finished, saved and told; the resumed run ends as the unbroken one."""
    pid = fork(lambda: run(tmp_path, **SLOW))
    wait_for((tmp_path / 'iter_2.pth').exists)
    os.kill(pid, number)
    drill('a signal ends a run with its status', wait(pid) == status)
    step = max(int(path.stem[5:]) for path in tmp_path.glob('iter_*.pth'))
    drill('a signal saves and says where', f'saved {tmp_path}/iter_{step}.pth' in log(tmp_path))
    assert wait(fork(run, tmp_path, True)) == 0
    drill('resumed after a signal bit for bit', equal(tmp_path, whole))


def test_a_signal_while_a_checkpoint_is_written(tmp_path, drill, whole):  # noqa: F811
    """At first sight of a file that is being written."""
    for number in range(3):
        folder = tmp_path / str(number)
        pid = fork(lambda: run(folder, custom_hooks=[RANDOM, INTERRUPT]))  # noqa: B023
        while not list(folder.glob('.*.part')) and not (folder / 'iter_2.pth').exists():
            pass
        os.kill(pid, signal.SIGTERM)
        ended = wait(pid) == 143
        again = wait(fork(run, folder, True)) == 0
        drill('a signal while writing', ended and again and equal(folder, whole))


@pytest.mark.parametrize('validating', [False, True])
def test_a_signal_to_one_of_two_ranks(tmp_path, drill, validating):
    """Both save and end, also within a validation."""
    slow = dict(type='SlowHook', seconds=0.1, validating=validating)
    more = dict(custom_hooks=[RANDOM, slow, INTERRUPT], val_dataloader__dataset__size=200)
    ranks = fork_ranks(free_port(), lambda: run_rank(tmp_path / 'broken', **more))
    wait_for((tmp_path / 'broken' / 'iter_3.pth').exists)
    time.sleep(0.3)
    started = time.monotonic()
    os.kill(ranks[1], signal.SIGUSR1)
    ended = [wait(pid) for pid in ranks] == [143, 143] and time.monotonic() - started < 3
    drill('a signal to one of two ranks ends both', ended)
    assert 'SIGUSR1: saved' in log(tmp_path)
    del more['custom_hooks']
    for folder, resume in ((tmp_path / 'broken', True), (tmp_path / 'whole', False)):
        ranks = fork_ranks(free_port(), lambda: run_rank(folder, resume, **more))  # noqa: B023
        assert [wait(pid) for pid in ranks] == [0, 0]
    drill('resumed after a signal bit for bit, two ranks', equal(tmp_path / 'broken', tmp_path / 'whole'))


def test_a_second_signal_ends_at_once(tmp_path, drill):
    stuck = dict(custom_hooks=[dict(type='SlowHook', seconds=60.0), INTERRUPT])
    pid = fork(lambda: run(tmp_path, **stuck))
    wait_for(lambda: 'stuck' in log(tmp_path))
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.3)
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    drill('a second signal ends at once', wait(pid) == 143 and time.monotonic() - started < 2)


def meet(place: Path) -> None:
    """One of two ranks that exchange numbers; it says that it is there."""
    init_cpu_dist(config(place, env_cfg=dict(dist_cfg=dict(timeout=3))), 'pytorch')
    for step in range(10_000):
        torch.distributed.all_reduce(torch.ones(1))
        (place / os.environ['RANK']).write_text(str(step))
        time.sleep(0.01)


def test_a_hung_rank_ends_the_others(tmp_path, drill):
    ranks = fork_ranks(free_port(), meet, tmp_path)
    wait_for(lambda: (tmp_path / '0').exists() and (tmp_path / '1').exists())
    os.kill(ranks[1], signal.SIGSTOP)
    started = time.monotonic()
    status = wait(ranks[0], 60)
    drill('a hung rank ends the others within the timeout', status != 0 and time.monotonic() - started < 20)
    os.kill(ranks[1], signal.SIGKILL)
    wait(ranks[1])
