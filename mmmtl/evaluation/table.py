"""What an evaluation found, as a table for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mmmtl.utils.tables import format_table

from .metrics.references import primary_keys


def metrics_table(values: Mapping[str, float], tasks: Mapping[str, Any] = {}, metrics: Iterable[Any] = ()) -> str:
    """Values as a table by task, in the order of ``tasks``; the metric that papers compare is marked with a star.

    Args:
        values: ``{'TASK/METRIC': value}``.
        tasks: ``{name: Task}``.
        metrics: Metrics of the evaluation, which know whether higher is better.
    """
    better = {key: higher for metric in metrics for key, higher in getattr(metric, 'greater_is_better', {}).items()}

    def place(key: str) -> tuple[int, str]:
        task = key.split('/')[0]
        return (list(tasks).index(task) if task in tasks else len(tasks), '' if task in tasks else key)

    rows, last, compared = [], None, primary_keys(values, tasks)
    for key in sorted(values, key=place):
        task, _, name = key.rpartition('/')
        star = '*' if key in compared else ''
        sense = '' if key not in better else 'higher is better' if better[key] else 'lower is better'
        rows.append([task if task != last else '', name + star, f'{values[key]:.4f}', sense])
        last = task
    return format_table(['task', 'metric', 'value', ''], rows, right=(2,))
