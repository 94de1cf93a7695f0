"""A run goes on with another number of processes: the same samples, batches and noise, the weights to rounding."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from mmengine.config import Config

from mmmtl.engine import TaskCycleBatchSampler, task_cycle
from mmmtl.engine.total_batch import fit_batch
from tests.distributed import run_ranks
from tests.test_engine.test_hooks.test_checkpoint_hook import log
from tests.test_engine.toy import ToyDataset, config, train_rank

PLAIN = dict(
    optim_wrapper__optimizer=dict(type='SGD', lr=0.05, momentum=0.9, _delete_=True),
    val_dataloader=None,
    val_cfg=None,
    val_evaluator=None,
    default_hooks__checkpoint__save_best=None,
)


def launch(folder: Path, ranks: int, iters: int, **changes: Any) -> dict[str, torch.Tensor]:
    """Train on ``ranks`` processes, four batches of three samples an iteration, whoever computes them."""
    cfg = config(folder, iters, train_cfg__accumulation=4 // ranks, **PLAIN, **changes)
    results = run_ranks(train_rank, ranks, cfg)
    assert all(ok for ok, _ in results), results
    return results[0][1]


def test_four_two_one_four(tmp_path):
    """Dropout, BatchNorm, noise of every kind: two iterations on each number of processes, and eight on four."""
    whole = launch(tmp_path / 'whole', 4, 8)
    for step, ranks in enumerate((4, 2, 1, 4), 1):
        ended = launch(tmp_path / 'changing', ranks, 2 * step, resume=step > 1)
    learned = [
        name for name in whole if name.startswith('model.') and 'running' not in name and 'num_batches' not in name
    ]
    moved = launch(tmp_path / 'start', 4, 1)
    assert len(learned) > 5 and any((whole[name] - moved[name]).abs().max() > 0.01 for name in learned)
    for name in learned:
        torch.testing.assert_close(ended[name], whole[name])
    assert 'running statistics of BatchNorm' in log(tmp_path / 'changing')


def on_rank(monkeypatch, rank: int, ranks: int) -> None:
    monkeypatch.setattr(task_cycle, 'get_dist_info', lambda: (rank, ranks))


def test_tasks_and_their_batches_are_the_same_on_any_number_of_processes(monkeypatch):
    found = {}
    for ranks in (4, 2, 1):
        batches: dict[int, set] = {}
        for rank in range(ranks):
            on_rank(monkeypatch, rank, ranks)
            sampler = TaskCycleBatchSampler(batch_size=2, accumulation=4 // ranks, seed=3, dataset=ToyDataset(30))
            sampler.deal(2, 4 // ranks)
            sampler.set_start(16)
            for number, batch in enumerate(itertools.islice(sampler, 5 * (4 // ranks))):
                entry = tuple((int(i), i.draw, i.tasks) for i in batch)
                batches.setdefault(number // (4 // ranks), set()).add(entry)
        found[ranks] = batches
    assert found[4] == found[2] == found[1]
    assert [{tasks for batch in step for *_, tasks in batch} for step in found[1].values()] == [
        {('first',)},
        {('second',)},
    ] * 2 + [{('first',)}]


def test_the_published_stream_does_not_change_hands():
    sampler = TaskCycleBatchSampler(batch_size=2, seed=3, dataset=ToyDataset(30), published=True)
    with pytest.raises(ValueError, match='published=True draws one batch per rank'):
        sampler.deal(2, 2)


@pytest.mark.parametrize(
    'processes, saved, counted, expected',
    [(2, 8, None, 2), (1, 8, None, 4), (4, 8, None, 1), (1, 16, 2, 4), (3, 8, None, 1)],
)
def test_a_resumed_run_keeps_its_total_batch(processes, saved, counted, expected):
    """Whatever the config was made for; with processes that do not divide it, the loop tells."""
    place = dict(samples=saved, processes=8)
    wrapper = dict(type='OptimWrapper') if counted is None else dict(type='OptimWrapper', accumulative_counts=counted)
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=2),
            train_cfg=dict(type='ResumableTrainLoop'),
            optim_wrapper=wrapper,
            auto_scale_lr=dict(base_batch_size=64, enable=True),
        )
    )
    runner = SimpleNamespace(world_size=processes, _train_loop=cfg.train_cfg, _train_dataloader=cfg.train_dataloader)
    fit_batch(cfg, runner, place)
    assert (runner._train_loop.get('accumulation') or 1) == expected
    place['processes'] = processes  # a smaller batch on as many of them is meant
    runner._train_loop = cfg.train_cfg
    cfg.auto_scale_lr = dict(base_batch_size=saved, enable=True)
    fit_batch(cfg, runner, place)
    assert 'accumulation' not in runner._train_loop
