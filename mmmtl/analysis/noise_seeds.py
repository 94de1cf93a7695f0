"""How much the metrics of one checkpoint depend on the noise that its predictions start from (TaskDiffusion, Table 8)."""

from __future__ import annotations

import copy
import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config

from mmmtl.apis.test import test
from mmmtl.errors import ConfigError
from mmmtl.evaluation import BoundaryMeasure
from mmmtl.evaluation.metrics.references import metric_class
from mmmtl.tasks import Task, build_tasks
from mmmtl.utils.files import write_json
from mmmtl.utils.tables import format_table
from mmmtl.utils.trees import dataset_configs

RESULT = 'noise_seeds.json'
"""File in the work dir: ``{'TASK/METRIC': {'seeds': {seed: value}, 'mean': ..., 'spread': ...}}``."""


def compare_noise_seeds(
    cfg: Config, checkpoint: str | None, seeds: Sequence[int], work_dir: str, losses_only: bool = False
) -> dict[str, dict[str, Any]]:
    """Evaluate a checkpoint once per noise seed, print mean and spread of every metric, and write them as JSON.

    Beside its boundary measure, a boundary task reports its loss as the paper does, and as it is in training.

    Args:
        cfg: What :func:`load_config` returned.
        checkpoint: ``.pth`` or ``.safetensors``; None evaluates the weights as drawn.
        seeds: Values of ``model.noise_seed``, at least two different ones.
        work_dir: Gets ``noise_seeds.json`` and the work dir ``seed_N`` of every evaluation.
        losses_only: Leave out the boundary measure, which takes long (as the paper does).

    Returns:
        What the file holds; spread is the largest value minus the smallest.

    Raises:
        ConfigError: Fewer than two seeds, or one given twice.
    """
    if len(set(seeds)) != len(seeds) or len(seeds) < 2:
        raise ConfigError(f'give at least two different seeds, got {list(seeds)}: --seeds 0 1 2')
    add_boundary_losses(cfg, losses_only)
    found: dict[str, dict[str, float]] = {}
    for seed in seeds:
        one = copy.deepcopy(cfg)
        one.model.noise_seed = seed
        for name, value in test(one, checkpoint, osp.join(work_dir, f'seed_{seed}')).items():
            found.setdefault(name, {})[str(seed)] = value
    summary = {
        name: dict(
            seeds=values, mean=float(np.mean(list(values.values()))), spread=float(np.ptp(list(values.values())))
        )
        for name, values in found.items()
    }
    print(seeds_table(summary, [str(seed) for seed in seeds]))
    if not any(row['spread'] for row in summary.values()):
        print('\nno metric depends on the seed: the network draws no noise')
    print(f'\nwritten: {write_json(osp.join(work_dir, RESULT), summary)}')
    return summary


def add_boundary_losses(cfg: Config, losses_only: bool = False) -> None:
    """Let every task of the test set that has a boundary measure report its loss too, in place."""
    for _, data in dataset_configs(cfg.get('test_dataloader'), ''):
        for name, task in build_tasks(data['tasks']).items() if data.get('tasks') else ():
            kept = _with_losses(task, losses_only)
            if kept is not None:
                data['tasks'][name]['metric'] = kept


def _with_losses(task: Task, losses_only: bool) -> list[dict] | None:
    """The metrics of a task with a boundary measure and its losses; None for other tasks."""
    metrics = task.metrics
    others = [m for m in metrics if metric_class(m) is not BoundaryMeasure]
    if len(others) == len(metrics):
        return None
    weight = getattr(task, 'positive_weight', 0.5)
    losses = [dict(type='BoundaryLoss', positive_weight=weight, protocol=p) for p in ('clean', 'upstream')]
    return (others if losses_only else metrics) + losses


def seeds_table(summary: Mapping[str, Mapping[str, Any]], seeds: Sequence[str]) -> str:
    """The comparison as text, a row per metric."""
    rows = [
        [
            name,
            *(f'{row["seeds"].get(s, float("nan")):.6f}' for s in seeds),
            f'{row["mean"]:.6f}',
            f'{row["spread"]:.2e}',
        ]
        for name, row in summary.items()
    ]
    header = ['metric', *(f'seed {s}' for s in seeds), 'mean', 'spread']
    return format_table(header, rows, right=range(1, len(header)))
