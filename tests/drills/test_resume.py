"""A run that is resumed is the unbroken one, bit for bit, whatever it consists of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from mmmtl import apis
from mmmtl.config import load_config
from tests.distributed import free_port
from tests.drills.conftest import FULL
from tests.drills.processes import fork, fork_ranks, wait
from tests.drills.runs import ITERS, SHARDED, equal, hurry, run, run_rank, start_at
from tests.test_matrix import METHODS, SIZE
from tests.tiny_config import write_config

NO_VAL = dict(val_dataloader=None, val_cfg=None, val_evaluator=None, default_hooks__checkpoint__save_best=None)
RANDOM = dict(type='RandomStateHook')
GATHERED = [RANDOM, dict(type='AccumulationHook')]


def balanced(kind: str, **options: Any) -> dict:
    return dict(
        optim_wrapper__type='BalancingOptimWrapper',
        optim_wrapper__balancer=dict(type=kind, **options),
        custom_hooks=GATHERED,
    )


def hooks(*more: dict, **options: Any) -> dict:
    return dict(custom_hooks=[RANDOM, *more], **options)


def cycle(**options: Any) -> dict:
    return dict(train_dataloader__batch_sampler=dict(type='TaskCycleBatchSampler', batch_size=3, **options))


def schedule(*parts: dict) -> dict:
    return dict(param_scheduler=[dict(part, by_epoch=False) for part in parts])


TWO = dict(optim_wrapper__accumulative_counts=2)
SETUPS = {
    'plain': {},
    'no validation': NO_VAL,
    'clipped': dict(optim_wrapper__clip_grad=dict(max_norm=1.0)),
    'SGD with momentum': dict(optim_wrapper__optimizer=dict(type='SGD', lr=0.01, momentum=0.9, _delete_=True)),
    'accumulated': dict(TWO, custom_hooks=GATHERED),
    'accumulated over three': dict(optim_wrapper__accumulative_counts=3, custom_hooks=GATHERED),
    'bfloat16': dict(optim_wrapper__type='AutocastOptimWrapper'),
    'bfloat16, accumulated and clipped': dict(
        TWO,
        optim_wrapper__type='AutocastOptimWrapper',
        optim_wrapper__clip_grad=dict(max_norm=1.0),
        custom_hooks=GATHERED,
    ),
    'averaged weights': hooks(dict(type='EMAHook', momentum=0.1)),
    'averaged weights, accumulated': dict(
        TWO, **hooks(dict(type='AccumulationHook'), dict(type='EMAHook', momentum=0.1, update_buffers=True))
    ),
    'batches are dropped': hooks(dict(type='NonFiniteLossHook', mode='skip'), model__poison_draws=(3, 15)),
    'FixedWeights': balanced('FixedWeights', weights=dict(first=2.0)),
    'Uncertainty': balanced('Uncertainty', lr=0.1),
    'DWA': balanced('DWA', window=2),
    'GLS': balanced('GLS'),
    'RLW': balanced('RLW'),
    'GradNorm': balanced('GradNorm'),
    'PCGrad': balanced('TorchJD', aggregator='PCGrad'),
    'GLS, accumulated': dict(balanced('GLS'), **TWO),
    'GradNorm, accumulated': dict(balanced('GradNorm'), **TWO),
    'PCGrad, accumulated, bfloat16': dict(
        balanced('TorchJD', aggregator='PCGrad'), **TWO, optim_wrapper__dtype='bfloat16'
    ),
    'one worker': dict(train_dataloader__num_workers=1),
    'two workers that stay': dict(train_dataloader__num_workers=2, train_dataloader__persistent_workers=True),
    'in order': dict(train_dataloader__sampler__shuffle=False),
    'batches across passes': dict(train_dataloader__batch_size=4, train_dataloader__dataset__size=7),
    'task after task': cycle(),
    'tasks drawn, accumulated': dict(TWO, **cycle(order='uniform', accumulation=2), custom_hooks=GATHERED),
    'tasks drawn as published': cycle(order='uniform', published=True),
    'cosine after a warm-up': schedule(
        dict(type='LinearLR', start_factor=0.1, begin=0, end=3), dict(type='CosineAnnealingLR', T_max=5, begin=3, end=8)
    ),
    'exponential after a warm-up': schedule(dict(type='WarmupExponentialLR', decay_end=7, warmup=2)),
}
STEPS = {name: [1 + number % (ITERS - 1)] for number, name in enumerate(SETUPS)}


def resumed(folder: Path, train: Any, steps: list[int], last: int = ITERS) -> bool:
    """Train, and resume from the checkpoints of some steps; whether all of them end the same."""
    assert train(folder / 'whole', False), 'the unbroken run has failed'
    same = []
    for step in steps:
        again = start_at(folder / str(step), folder / 'whole', step)
        same.append(train(again, True) and equal(again, folder / 'whole', last))
    return all(same)


@pytest.mark.parametrize('name', SETUPS)
def test_on_one_process(tmp_path, drill, name):
    if 'PCGrad' in name:
        pytest.importorskip('torchjd')
    setup = SETUPS[name]
    steps = STEPS[name] if not FULL else list(range(1, ITERS))
    drill('resumed bit for bit', resumed(tmp_path, lambda *a: wait(fork(lambda: run(*a, **setup))) == 0, steps))


RANKS = {
    'replicated': {},
    'replicated, accumulated': dict(TWO, custom_hooks=GATHERED),
    'task after task': cycle(),
    'sharded': dict(SHARDED, **NO_VAL),
}


@pytest.mark.parametrize('name', RANKS)
def test_on_two_ranks(tmp_path, drill, name):
    setup = RANKS[name]

    def train(*arguments: Any) -> bool:
        ranks = fork_ranks(free_port(), lambda: run_rank(*arguments, **setup))
        return [wait(pid) for pid in ranks] == [0, 0]

    drill('resumed bit for bit, two ranks', resumed(tmp_path, train, [3]))


NETWORKS = ('taskdiffusion', 'taskdiffusion_mlore', 'diffusionmtl_feature', 'diffusionmtl_prediction', 'plain', 'xtc')


@pytest.mark.parametrize('name', NETWORKS)
def test_networks(tmp_path, drill, name):
    base = write_config(tmp_path)

    def train(folder: Path, resume: bool) -> bool:
        def work() -> None:
            hurry()
            cfg = load_config(base, {'size': SIZE, 'default_hooks.checkpoint.interval': 1, 'val_cfg': None})
            cfg.model = {**METHODS[name], 'tasks': cfg.tasks}
            cfg.val_dataloader = cfg.val_evaluator = None
            apis.train(cfg, str(folder), resume=resume)

        return wait(fork(work)) == 0

    drill('resumed bit for bit, networks', resumed(tmp_path, train, [2], last=4))
