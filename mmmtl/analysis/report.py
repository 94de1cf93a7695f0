"""The report of a run: one HTML page with tables, plots and the worst and best images of every task."""

from __future__ import annotations

import datetime
import os.path as osp
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.dist import barrier, is_main_process
from torch import nn

from mmmtl.apis.test import run_test
from mmmtl.datasets.io.memory import original_photograph
from mmmtl.datasets.mixed import sample_id_of
from mmmtl.engine.checkpoint_files import file_digest
from mmmtl.errors import ConfigError
from mmmtl.utils.files import read_json, safe_name, write_atomically, write_json, write_png
from mmmtl.utils.models import unwrap_model
from mmmtl.visualization import input_photograph, panel_of_sample

from .logs import plot_logs, read_log
from .report_page import report_page
from .report_tables import ReportData, collect_report, write_tables

ORIGIN = 'evaluated.json'
"""File of a work dir that says what was evaluated when."""
IMAGES = 3
"""How many of the worst and of the best images of each task are shown."""


def today() -> str:
    """Date and minute."""
    return datetime.datetime.now().strftime('%Y-%m-%d %H:%M')


def make_report(work_dir: str, count: int = IMAGES) -> str:
    """Write ``WORK_DIR/report/index.html`` and its tables from what an evaluation left in the work dir.

    The page shows ``metrics.json``, metrics by class and by image (``records.npz``), the curves of the training if its
    log is there, and the panels in ``report/panels``; it needs no network and no script.

    Args:
        work_dir: Where ``tools/test.py --report`` wrote.
        count: Images at either end of each task's ranking.

    Returns:
        Path of the page.

    Raises:
        ConfigError: No evaluation there; names the missing file and how to get it.
    """
    folder = osp.join(work_dir, 'report')
    data = collect_report(work_dir)
    write_tables(data, folder)
    names = ['', *(task.name for task in data.tasks)]
    origin = read_origin(work_dir)
    panels = {(name, i): panel_path(name, i) for name in names for i in data.images if origin is not None}
    panels = {key: path for key, path in panels.items() if osp.isfile(osp.join(folder, path))}
    curves = training_curves(work_dir, folder)
    page = report_page(data, osp.basename(osp.abspath(work_dir)), panels, curves, count, origin or {})
    return write_atomically(osp.join(folder, 'index.html'), page)


def evaluate_and_report(cfg: Config, checkpoint: str | None, **options: Any) -> dict[str, float]:
    """Do what :func:`mmmtl.apis.test` does, then draw the worst and best images of every task and write the report.

    Args:
        cfg, checkpoint: What is evaluated.
        options: Further arguments of :func:`mmmtl.apis.test`.

    Returns:
        ``{'TASK/METRIC': value}``.
    """
    metrics, runner = run_test(cfg, checkpoint, require_records=True, **options)
    if is_main_process():
        work_dir = runner.work_dir
        origin = dict(config=cfg.filename or '', checkpoint=checkpoint or 'none: weights as drawn', date=today())
        origin['metrics'] = file_digest(Path(work_dir, 'metrics.json'))
        shutil.rmtree(osp.join(work_dir, 'report', 'panels'), ignore_errors=True)  # of an earlier evaluation
        write_json(osp.join(work_dir, ORIGIN), {name: value for name, value in origin.items() if value})
        chosen = chosen_images(collect_report(work_dir))
        draw_chosen(unwrap_model(runner.model), runner.test_dataloader.dataset, chosen, osp.join(work_dir, 'report'))
        print(f'report: {make_report(work_dir)}')
    barrier()
    return metrics


def read_origin(work_dir: str) -> dict[str, str] | None:
    """Config, checkpoint and date of the evaluation in a work dir, as far as they were written down; None where they, and
    the panels, are those of an earlier evaluation."""
    path = osp.join(work_dir, ORIGIN)
    origin = {str(name): str(value) for name, value in read_json(path).items()} if osp.isfile(path) else {}
    known = origin.pop('metrics', None)
    return origin if known in (None, file_digest(Path(work_dir, 'metrics.json'))) else None


def panel_path(task: str, sample_id: str) -> str:
    """Where a panel of one task, or with ``''`` of all, lies relative to the page."""
    return osp.join('panels', safe_name(task), safe_name(sample_id) + '.png')


def training_curves(work_dir: str, folder: str) -> str:
    """Draw the log of the training in a work dir; returns the picture's name, '' where there is none."""
    try:
        log = read_log(work_dir)
    except ConfigError:  # evaluated elsewhere than trained
        return ''
    if 'loss' not in log.train:
        return ''
    plot_logs([log], osp.join(folder, 'curves.svg'), smooth=0.6)
    return 'curves.svg'


def chosen_images(data: ReportData, count: int = IMAGES) -> dict[str, list[str]]:
    """``{sample id: tasks}`` of the images that are among the worst or best of these tasks."""
    chosen: dict[str, list[str]] = {}
    for task in data.tasks:
        for end in task.worst_and_best(count):
            for sample_id, _ in end:
                chosen.setdefault(sample_id, []).append(task.name)
    return chosen


def draw_chosen(model: nn.Module, dataset: Any, chosen: Mapping[str, Sequence[str]], folder: str) -> list[str]:
    """Predict again on chosen images and draw their panels.

    Args:
        model: The network, on its device.
        dataset: The dataset that was evaluated.
        chosen: ``{sample id: tasks that get a panel of their own}``.
        folder: The report's; panels go to ``panels/SAMPLE_ID.png`` and ``panels/TASK/SAMPLE_ID.png`` in it.

    Returns:
        Paths.
    """
    index = {sample_id_of(dataset, k): k for k in range(len(dataset))}
    training, paths = model.training, []
    model.eval()
    for sample_id, names in chosen.items():
        data = pseudo_collate([dataset[index[sample_id]]])
        with torch.no_grad():
            sample = model.test_step(data)[0]
        image, *rest = input_photograph(data['inputs'][0], sample.metainfo)
        whole = None if rest else original_photograph(sample)
        tasks = dataset.metainfo['tasks']
        for name in ('', *names):
            shown = {name: tasks[name]} if name else tasks
            panel = panel_of_sample(
                image if whole is None else whole, sample, shown, image_next=rest[0] if rest else None
            )
            paths.append(write_png(osp.join(folder, panel_path(name, sample_id)), panel))
    model.train(training)
    return paths
