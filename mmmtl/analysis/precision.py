"""What half precision costs each task: one checkpoint evaluated in several precisions."""

from __future__ import annotations

import copy
import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmmtl.apis.test import test
from mmmtl.errors import ConfigError
from mmmtl.evaluation.metrics.references import primary_keys
from mmmtl.ops.precision import check_dtype
from mmmtl.tasks import Task, build_tasks
from mmmtl.utils.files import write_atomically, write_json
from mmmtl.utils.tables import format_table, markdown_table
from mmmtl.utils.trees import tasks_of

RESULT = 'precision.json'
"""File in the work dir: ``{precision: {'TASK/METRIC': value}}``."""
WHOLE = 'fp32'


def compare_precisions(
    cfg: Config, checkpoint: str | None, dtypes: Sequence[str], work_dir: str, out: str | None = None
) -> dict[str, dict[str, float]]:
    """Evaluate a checkpoint in single precision and in others, print each task's loss of accuracy, and write JSON.

    Args:
        cfg: What :func:`load_config` returned.
        checkpoint: ``.pth`` or ``.safetensors``; None evaluates the weights as drawn.
        dtypes: Of ``bf16`` and ``fp16``.
        work_dir: Gets ``precision.json`` and a work dir for every evaluation.
        out: A Markdown file that gets the table, too.

    Returns:
        What the JSON file holds.

    Raises:
        ConfigError: No precision to compare with, or an unknown one.
    """
    others = [check_dtype(name) for name in dict.fromkeys(dtypes) if name != WHOLE]
    if not others:
        raise ConfigError(f'give a precision to compare with {WHOLE}: --dtypes bf16 fp16')
    tasks = build_tasks(tasks_of(cfg.get('test_dataloader')))
    found: dict[str, dict[str, float]] = {}
    for name in (WHOLE, *others):
        one = copy.deepcopy(cfg)
        one.model.predict_dtype = name
        found[name] = dict(test(one, checkpoint, osp.join(work_dir, name)))
    header, rows = precision_table(found, tasks)
    print(format_table(header, rows, right=range(1, len(header))))
    if out:
        write_atomically(out, markdown_table(header, rows, right=range(1, len(header))) + '\n')
    print(f'\nwritten: {write_json(osp.join(work_dir, RESULT), found)}' + (f', {out}' if out else ''))
    return found


def precision_table(
    found: Mapping[str, Mapping[str, float]], tasks: Mapping[str, Task]
) -> tuple[list[str], list[list[str]]]:
    """Header and rows: the primary metric of every task, in each precision, and how much worse it is (+) or better (-)."""
    others = [name for name in found if name != WHOLE]
    header = ['metric', WHOLE, *(text for name in others for text in (name, 'loss'))]
    rows: list[list[Any]] = []
    for key in primary_keys(found[WHOLE], tasks):
        task = tasks[key.split('/')[-2]]
        row, whole = [f'{key} {"↑" if task.greater_is_better else "↓"}', f'{found[WHOLE][key]:.4f}'], found[WHOLE][key]
        for other in others:
            value = found[other][key]
            loss = whole - value if task.greater_is_better else value - whole
            row += [f'{value:.4f}', f'{loss:+.4f}']
        rows.append(row)
    return header, rows
