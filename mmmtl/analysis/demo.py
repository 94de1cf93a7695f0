"""The main job in one call: train a small TaskDiffusion on generated scenes, evaluate, draw, and say what was learned."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmmtl.apis.test import test
from mmmtl.apis.train import train
from mmmtl.config.load import load_config
from mmmtl.evaluation.metrics.references import primary_metric_of
from mmmtl.registry import DATASETS
from mmmtl.utils.files import write_atomically
from mmmtl.utils.tables import format_table

from .constant_predictions import best_constants
from .logs import plot_logs, read_log


def run_demo(config: str, work_dir: str, cfg_options: Mapping[str, Any] | None = None, panels: int = 12) -> str:
    """Train, evaluate on held-out scenes, draw panels and the loss curve.

    Written into ``work_dir``: the checkpoint, ``metrics.json``, ``panels/``, ``loss.png`` and ``comparison.txt``.

    Args:
        config: A config that needs no download.
        work_dir: Where everything goes.
        cfg_options: Changes of the config.
        panels: How many test images are drawn.

    Returns:
        The table: for every task the trained model, the same model untrained, and the best constant prediction.
    """
    started = time.time()
    cfg = load_config(config, cfg_options)
    if not cfg_options or not any(name.startswith('val_') for name in cfg_options):
        # the test that follows predicts the same images by the same weights
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    train(cfg, work_dir)
    plot_logs([read_log(work_dir)], str(Path(work_dir) / 'loss.png'))
    checkpoint = (Path(work_dir) / 'last_checkpoint').read_text().strip()
    trained = test(cfg, checkpoint, work_dir, show_dir=str(Path(work_dir) / 'panels'), max_panels=panels)
    untrained = test(cfg, None, str(Path(work_dir) / 'untrained'))
    dataset = DATASETS.build(dict(cfg.test_dataloader.dataset))
    constant = best_constants(dataset)
    better = {f'{n}/{primary_metric_of(t)}': t.greater_is_better for n, t in dataset.metainfo['tasks'].items()}
    table = comparison_table({'TaskDiffusion': trained, 'untrained': untrained, 'best constant': constant}, better)
    write_atomically(Path(work_dir, 'comparison.txt'), table + '\n')
    print(f'\n{table}\n\n{work_dir}: metrics.json, {panels} panels, loss.png ({time.time() - started:.0f} s)')
    return table


def comparison_table(columns: Mapping[str, Mapping[str, float]], better: Mapping[str, bool]) -> str:
    """Metrics of several runs side by side.

    Args:
        columns: ``{heading: {'TASK/METRIC': value}}``; the first column's best values are marked.
        better: ``{'TASK/METRIC': is higher better}``: the rows.
    """
    rows = []
    for key, higher in better.items():
        values = [metrics.get(key) for metrics in columns.values()]
        known = [v for v in values if v is not None]
        wins = values[0] is not None and values[0] == (max if higher else min)(known)
        cells = ['-' if v is None else f'{v:.4f}' for v in values]
        rows.append([f'{key} {"↑" if higher else "↓"}', cells[0] + (' *' if wins else '  '), *cells[1:]])
    return format_table(['', *columns], rows, right=range(1, len(columns) + 1))
