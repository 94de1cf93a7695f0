"""Numbers of a report: every metric by image, by class, and which class was taken for which."""

from __future__ import annotations

import csv
import io
import math
import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.segmentation import class_accuracy, class_iou
from mmmtl.evaluation.metrics.records import RECORDS_FILE, Records
from mmmtl.evaluation.metrics.references import read_metrics
from mmmtl.utils.files import write_atomically, write_json


@dataclass
class ClassTable:
    """Which class was predicted for which.

    Attributes:
        names: K class names.
        confusion: Pixels (K, K + 1): label, prediction; the last column counts pixels without a prediction.
    """

    names: list[str]
    confusion: np.ndarray

    def rows(self) -> list[dict[str, Any]]:
        """Per class its IoU, accuracy (both NaN where undefined) and pixels in the labels."""
        iou, accuracy, pixels = class_iou(self.confusion), class_accuracy(self.confusion), self.confusion.sum(1)
        return [
            {'class': name, 'IoU': float(iou[i]), 'accuracy': float(accuracy[i]), 'pixels': int(pixels[i])}
            for i, name in enumerate(self.names)
        ]

    def shares(self) -> list[tuple[str, list[tuple[str, float, int]]]]:
        """Per labelled class its name and, per predicted class, the name, its share of the label's pixels, and their number."""
        share = self.confusion / np.maximum(self.confusion.sum(1, keepdims=True), 1)
        return [
            (name, list(zip(self.names, share[i].tolist(), self.confusion[i].tolist())))
            for i, name in enumerate(self.names)
        ]


@dataclass
class TaskReport:
    """A task's part of a report.

    Attributes:
        name: The task.
        metrics: ``{metric: (value, is a higher value better or None)}``.
        primary_metric: The metric by which images are ranked, ``''`` without any.
        ranking: ``(sample id, value of the image alone)``, worst first.
        classes: By class, for class maps.
    """

    name: str
    metrics: dict[str, tuple[float, bool | None]]
    primary_metric: str = ''
    ranking: list[tuple[str, float]] = field(default_factory=list)
    classes: ClassTable | None = None

    def worst_and_best(self, count: int) -> tuple[list[tuple[str, float]], list[tuple[str, float]]]:
        """Up to ``count`` images at either end, each the extreme one first; no image is in both."""
        worst = self.ranking[: min(count, (len(self.ranking) + 1) // 2)]
        best = self.ranking[max(len(self.ranking) - count, len(worst)) :]
        return worst, best[::-1]


@dataclass
class ReportData:
    """What the report of a run shows.

    Attributes:
        tasks: In the order of the evaluation.
        images: ``{sample id: {'TASK/METRIC': value}}``.
        others: Metrics that belong to no task.
    """

    tasks: list[TaskReport]
    images: dict[str, dict[str, float]]
    others: dict[str, float]


def collect_report(work_dir: str) -> ReportData:
    """Read ``metrics.json`` and ``records.npz`` of a work dir.

    Raises:
        ConfigError: When one of them is missing; says how to get it.
    """
    paths = {name: osp.join(work_dir, name) for name in ('metrics.json', RECORDS_FILE)}
    for path in paths.values():
        if not osp.isfile(path):
            raise ConfigError(
                f'{path} is missing: a report is made from an evaluation with '
                f'`python tools/test.py CONFIG CHECKPOINT --work-dir {work_dir} --report`'
            )
    metrics = read_metrics(paths['metrics.json'])
    records = Records.load(paths[RECORDS_FILE])
    records.check_metrics(metrics, paths[RECORDS_FILE])
    images, better = records.image_metrics(), records.greater_is_better()
    # the order of the evaluation, which the first image's labels need not show
    order = [key.split('/')[0] for key in metrics] + [name for name, _ in records.tables]
    evaluated = {name for name, _ in records.tables}
    names = [name for name in dict.fromkeys(order) if name in evaluated]
    tasks = [_task_report(name, records, metrics, images, better) for name in names]
    known = {f'{task.name}/{metric}' for task in tasks for metric in task.metrics}
    return ReportData(tasks, images, {k: v for k, v in metrics.items() if k not in known})


def _task_report(
    name: str,
    records: Records,
    metrics: Mapping[str, float],
    images: Mapping[str, Mapping[str, float]],
    better: Mapping[str, bool],
) -> TaskReport:
    own = {k[len(name) + 1 :]: (v, better.get(k)) for k, v in metrics.items() if k.startswith(f'{name}/')}
    report = TaskReport(name, own)
    index = min(i for task, i in records.tables if task == name)
    first = next(iter(records.metric((name, index)).reported), '')
    ranked = [(i, v[f'{name}/{first}']) for i, v in images.items() if math.isfinite(v.get(f'{name}/{first}', math.nan))]
    if first and ranked:
        report.primary_metric = first
        report.ranking = sorted(ranked, key=lambda pair: pair[1], reverse=not better[f'{name}/{first}'])
    for (task, index), table in records.tables.items():
        if task == name and 'confusion' in table.fields and report.classes is None:
            confusion = table.fields['confusion'].sum(0, dtype=np.int64)
            names = getattr(records.metric((task, index)), 'classes', None)
            report.classes = ClassTable(list(names or map(str, range(len(confusion)))), confusion)
    return report


def write_tables(data: ReportData, folder: str) -> list[str]:
    """Write ``images.csv|json``, and per task with classes ``classes_TASK.csv|json`` and ``confusion_TASK.csv``.

    A metric that an image does not have is empty in CSV and null in JSON.
    """
    columns = list(dict.fromkeys(k for values in data.images.values() for k in values))
    rows = [[i, *(_number(values.get(k, math.nan)) for k in columns)] for i, values in data.images.items()]
    paths = [
        _write_csv(osp.join(folder, 'images.csv'), ['sample_id', *columns], rows),
        write_json(
            osp.join(folder, 'images.json'),
            {i: {k: _number(v) for k, v in values.items()} for i, values in data.images.items()},
        ),
    ]
    for task in data.tasks:
        if task.classes is None:
            continue
        table = [{k: _number(v) for k, v in row.items()} for row in task.classes.rows()]
        names = task.classes.names
        confusion = [[name, *row] for name, row in zip(names, task.classes.confusion.tolist())]
        paths += [
            _write_csv(osp.join(folder, f'classes_{task.name}.csv'), list(table[0]), [list(r.values()) for r in table]),
            write_json(osp.join(folder, f'classes_{task.name}.json'), table),
            _write_csv(
                osp.join(folder, f'confusion_{task.name}.csv'),
                ['label \\ prediction', *names, 'none'][: len(confusion[0])],
                confusion,
            ),
        ]
    return paths


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _write_csv(path: str, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator='\n')
    writer.writerows([header, *rows])
    return write_atomically(path, text.getvalue())
