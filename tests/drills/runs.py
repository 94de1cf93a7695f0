"""Short trainings in processes of their own, and what they end with."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.runner import FlexibleRunner, Runner

from mmmtl.compat import init_cpu_dist
from mmmtl.engine.hooks import catch_signals
from tests.drills.processes import fork, wait
from tests.test_engine.toy import config, train

ITERS = 8
SAVE_ALL = dict(default_hooks__checkpoint__interval=1, default_hooks__checkpoint__max_keep_ckpts=-1)
SHARDED = dict(
    env_cfg=dict(dist_cfg=dict(backend='nccl')),  # gloo on CPUs
    runner_type='FlexibleRunner',
    strategy=dict(
        type='ShardingStrategy', model_wrapper=dict(auto_wrap_policy=dict(type='wrap_blocks', blocks=['Linear']))
    ),
    optim_wrapper=dict(type='ShardedOptimWrapper'),
)


def hurry() -> None:
    """Leave out what takes a second of every run and has nothing to do with the drills."""
    for kind in (Runner, FlexibleRunner):
        kind._log_env = lambda *args: None
        kind.dump_config = lambda self: None


def run(folder: Path, resume: bool = False, iters: int = ITERS, **options: Any) -> None:
    """Train the toy."""
    hurry()
    with catch_signals():
        train(config(folder, iters, resume=resume, **{**SAVE_ALL, **options}))


def run_rank(folder: Path, resume: bool = False, iters: int = ITERS, **options: Any) -> None:
    """Train the toy as one of several ranks."""
    hurry()
    torch.set_num_threads(1)
    cfg = config(folder, iters, resume=resume, **{**SAVE_ALL, **options})
    init_cpu_dist(cfg, 'pytorch')
    cfg.launcher = 'pytorch'
    with catch_signals():
        train(cfg)
    torch.distributed.barrier()


@pytest.fixture(scope='module')
def whole(tmp_path_factory) -> Path:
    """Work dir of the toy's unbroken run."""
    folder = tmp_path_factory.mktemp('whole')
    assert wait(fork(run, folder)) == 0
    return folder


def start_at(folder: Path, source: Path, step: int) -> Path:
    """Make ``folder`` that of a run that was killed after ``step`` iterations."""
    folder.mkdir()
    shutil.copy(source / f'iter_{step}.pth', folder)
    return folder


def flat(value: Any, name: str = '') -> dict[str, Any]:
    """All leaves of nested containers by their place."""
    if isinstance(value, (dict, list, tuple)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {place: leaf for key, item in items for place, leaf in flat(item, f'{name}.{key}').items()}
    return {name: value}


def equal(one: Path, other: Path, step: int = ITERS) -> bool:
    """Whether two runs are in the same state: weights, statistics, optimiser, balancing, schedules, generators, data."""

    def state(folder: Path) -> dict[str, Any]:
        content = torch.load(folder / f'iter_{step}.pth', weights_only=True)
        stream = content['message_hub']['runtime_info'].get('train_stream')
        return flat([{k: v for k, v in content.items() if k not in ('meta', 'message_hub')}, stream])

    first, second = state(one), state(other)
    assert any('state_dict' in name for name in first) and any('random_state' in name for name in first)
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) if isinstance(value, torch.Tensor) else value == second[name]
        for name, value in first.items()
    )
