"""kill -9 at any moment, signals, hung ranks, and runs that are resumed bit for bit."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine._strategy import FSDPStrategy
from mmengine.runner.checkpoint import save_checkpoint

from mmmtl.compat import init_cpu_dist
from mmmtl.engine.checkpoint_files import newest_first, why_not_resumable
from mmmtl.engine.hooks import catch_signals
from mmmtl.engine.sharding import ShardingStrategy
from tests.distributed import free_port
from tests.drills.conftest import FULL
from tests.drills.processes import fork, wait
from tests.test_engine.toy import config, state, train

RNG = np.random.default_rng(0)


def content(step: int) -> dict:
    return dict(
        state_dict={'w': torch.full((1 << 18,), float(step))}, meta=dict(iter=step, epoch=0), message_hub={'a': step}
    )


def write_for_ever(folder: Path) -> None:
    """As runners and most strategies save."""
    for step in range(1, 10_000):
        save_checkpoint(content(step), str(folder / f'iter_{step}.pth'))
        (folder / f'iter_{step - 2}.pth').unlink(missing_ok=True)


def write_sharded_for_ever(folder: Path) -> None:
    """As the strategy of sharded training saves, with states that need no processes."""
    strategy = ShardingStrategy.__new__(ShardingStrategy)
    strategy._is_full_state_dict = lambda: True
    strategy._randomness = dict(seed=0)
    FSDPStrategy.seed = property(lambda self: 0)
    for step in range(1, 10_000):
        strategy.model_state_dict = lambda: content(step)['state_dict']  # noqa: B023 - used at once
        rest = {name: value for name, value in content(step).items() if name != 'state_dict'}
        strategy.save_checkpoint(
            str(folder / f'iter_{step}.pth'), save_optimizer=False, save_param_scheduler=False, extra_ckpt=rest
        )
        (folder / f'iter_{step - 2}.pth').unlink(missing_ok=True)


@pytest.mark.parametrize('write', [write_for_ever, write_sharded_for_ever])
def test_kills_while_writing(tmp_path, drill, write):
    """At first sight of any file, or up to 50 ms later: every file under its name is whole."""
    for number in range(20):
        folder = tmp_path / str(number)
        folder.mkdir()
        pid = fork(write, folder)
        while not list(folder.iterdir()) and not os.waitpid(pid, os.WNOHANG)[0]:
            pass
        time.sleep(float(RNG.uniform(0, 0.05)) if number % 2 else 0.0)
        os.kill(pid, signal.SIGKILL)
        assert wait(pid) == -signal.SIGKILL
        found = newest_first(folder)
        drill(f'kill -9, {write.__name__}', all(why_not_resumable(path) is None for path in found))


def run(folder: Path, iters: int = 8, resume: bool = False, **options) -> None:
    with catch_signals():
        runner = train(config(folder, iters, resume=resume, default_hooks__checkpoint__interval=1, **options))
    torch.save(state(runner), folder / 'ended.pt')


def ended(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / 'ended.pt', weights_only=True)


def equal(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_kills_of_a_training(tmp_path, drill):
    """Killed at any moment and resumed until it ends, a run ends as the unbroken one."""
    started = time.monotonic()
    assert wait(fork(run, tmp_path / 'whole')) == 0
    length, number = time.monotonic() - started, 0
    for attempt in range(3 if not FULL else 12):
        folder = tmp_path / str(attempt)
        folder.mkdir()
        for _ in range(3):
            pid = fork(run, folder, 8, True)
            time.sleep(float(RNG.uniform(0.1, 1.0)) * length)
            os.kill(pid, signal.SIGKILL)
            wait(pid)
            number += 1
        done = wait(fork(run, folder, 8, True)) == 0
        same = done and equal(ended(folder), ended(tmp_path / 'whole'))
        for _ in range(3):
            drill('kill -9, a training resumed bit for bit', same)
    (tmp_path / 'done').write_text(str(number))


SETUPS = [
    dict(),
    dict(optim_wrapper__accumulative_counts=2),
    dict(optim_wrapper__type='AutocastOptimWrapper', optim_wrapper__clip_grad=dict(max_norm=1.0)),
    dict(train_dataloader__num_workers=1),
    dict(custom_hooks=[dict(type='RandomStateHook'), dict(type='EMAHook', momentum=0.1)]),
    dict(val_dataloader=None, val_cfg=None, val_evaluator=None, default_hooks__checkpoint__save_best=None),
]


@pytest.mark.parametrize('number', range(len(SETUPS)))
def test_resumed_bit_for_bit(tmp_path, drill, number):
    setup = SETUPS[number]
    assert wait(fork(lambda: run(tmp_path / 'whole', **setup)), 180) == 0
    for stop in (2, 4, 6) if FULL else (4,):
        folder = tmp_path / str(stop)
        assert wait(fork(lambda: run(folder, stop, **setup)), 180) == 0  # noqa: B023
        assert wait(fork(lambda: run(folder, 8, True, **setup)), 180) == 0  # noqa: B023
        drill('resumed bit for bit', equal(ended(folder), ended(tmp_path / 'whole')))


SLOW = [dict(type='RandomStateHook'), dict(type='SlowHook'), dict(type='InterruptHook')]


@pytest.mark.parametrize(('number', 'status'), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGUSR1, 143)])
def test_signals(tmp_path, drill, number, status):
    """The iteration is finished, saved and told; the resumed run ends as the unbroken one."""
    slow = dict(custom_hooks=SLOW)
    assert wait(fork(lambda: run(tmp_path / 'whole', **slow))) == 0
    folder = tmp_path / 'broken'
    pid = fork(lambda: run(folder, **slow))
    while not list(folder.glob('iter_2.pth')):
        time.sleep(0.01)
    os.kill(pid, number)
    drill('a signal ends a run with its status', wait(pid) == status)
    text = ''.join(path.read_text() for path in folder.rglob('*.log'))
    step = max(int(path.stem[5:]) for path in folder.glob('iter_*.pth'))
    drill('a signal saves and says where', f'saved {folder}/iter_{step}.pth' in text)
    assert wait(fork(lambda: run(folder, 8, True, **slow))) == 0
    drill('resumed after a signal bit for bit', equal(ended(folder), ended(tmp_path / 'whole')))


def test_a_second_signal_ends_at_once(tmp_path, drill):
    stuck = dict(custom_hooks=[dict(type='SlowHook', seconds=60.0), dict(type='InterruptHook')])
    pid = fork(lambda: run(tmp_path, **stuck))
    while not list(tmp_path.rglob('*.log')):
        time.sleep(0.01)
    time.sleep(1.0)
    os.kill(pid, signal.SIGTERM)
    time.sleep(0.5)
    started = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    drill('a second signal ends at once', wait(pid) == 143 and time.monotonic() - started < 2)


def meet(rank: int, port: int, place: Path) -> None:
    """Two ranks that exchange numbers; each says that it is there."""
    os.environ.update(
        RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE='2', MASTER_ADDR='localhost', MASTER_PORT=str(port)
    )
    init_cpu_dist(config(place, env_cfg=dict(dist_cfg=dict(timeout=3))), 'pytorch')
    for step in range(10_000):
        torch.distributed.all_reduce(torch.ones(1))
        (place / f'{rank}').write_text(str(step))
        time.sleep(0.01)


def test_a_hung_rank_ends_the_others(tmp_path, drill):
    port = free_port()
    ranks = [fork(meet, rank, port, tmp_path) for rank in (0, 1)]
    while not (tmp_path / '0').exists() or not (tmp_path / '1').exists():
        time.sleep(0.01)
    os.kill(ranks[1], signal.SIGSTOP)
    started = time.monotonic()
    status = wait(ranks[0], 60)
    drill('a hung rank ends the others within the timeout', status != 0 and time.monotonic() - started < 20)
    os.kill(ranks[1], signal.SIGKILL)
    wait(ranks[1])
