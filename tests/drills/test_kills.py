"""kill -9 at any moment: no file under its name is ever half a file, and a run that is started again ends the same."""

from __future__ import annotations

import itertools
import os
import signal
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.runner.checkpoint import save_checkpoint

from mmmtl.engine.checkpoint_files import newest_first, why_not_resumable
from tests.distributed import free_port
from tests.drills.conftest import FULL
from tests.drills.processes import fork, fork_ranks, kill, wait, wait_for
from tests.drills.runs import SHARDED, equal, run, run_rank, whole  # noqa: F401 - a fixture

RNG = np.random.default_rng(0)


def write_for_ever(folder: Path) -> None:
    """As runners and most strategies save."""
    for step in itertools.count(1):
        hub = dict(log_scalars={}, runtime_info=dict(iter=step), resumed_keys={})
        content = dict(state_dict={'w': torch.full((1 << 18,), float(step))}, message_hub=hub)
        save_checkpoint(dict(content, meta=dict(iter=step, epoch=0)), str(folder / f'iter_{step}.pth'))
        (folder / f'iter_{step - 2}.pth').unlink(missing_ok=True)


def test_kills_while_writing(tmp_path, drill):
    """At first sight of any file, or up to 50 ms later: every file under its name is whole."""
    for number in range(24):
        folder = tmp_path / str(number)
        folder.mkdir()
        pid = fork(write_for_ever, folder)
        while not list(folder.iterdir()) and not os.waitpid(pid, os.WNOHANG)[0]:
            pass
        time.sleep(float(RNG.uniform(0, 0.05)) if number % 2 else 0.0)
        kill(pid)
        drill('kill -9 while writing', all(why_not_resumable(path) is None for path in newest_first(folder)))


def test_kills_of_sharded_training(tmp_path, drill):
    """Two ranks that gather their shards and save after every iteration, killed together."""
    for number in range(8 if not FULL else 24):
        folder = tmp_path / str(number)
        ranks = fork_ranks(
            free_port(),
            lambda: run_rank(folder, iters=10_000, val_dataloader=None, val_cfg=None, val_evaluator=None, **SHARDED),  # noqa: B023
        )
        wait_for(lambda: list(folder.glob('*.pth*')) or list(folder.glob('.*.part')))  # noqa: B023
        time.sleep(float(RNG.uniform(0, 0.2)))
        for pid in ranks:
            os.kill(pid, signal.SIGKILL)
        killed = [wait(pid) for pid in ranks] == [-signal.SIGKILL] * 2
        drill(
            'kill -9, sharded on two ranks', killed and all(why_not_resumable(p) is None for p in newest_first(folder))
        )


def test_kills_of_a_training(tmp_path, drill, whole):  # noqa: F811
    """Killed at any moment and resumed until it ends, a run ends as the unbroken one."""
    started = time.monotonic()
    assert wait(fork(run, tmp_path / 'again')) == 0
    length = time.monotonic() - started
    for attempt in range(6 if not FULL else 18):
        folder = tmp_path / str(attempt)
        for _ in range(3):
            pid = fork(run, folder, True)
            time.sleep(float(RNG.uniform(0.1, 1.0)) * length)
            os.kill(pid, signal.SIGKILL)
            wait(pid)
        same = wait(fork(run, folder, True)) == 0 and equal(folder, whole)
        for _ in range(3):
            drill('kill -9, a training resumed bit for bit', same)
