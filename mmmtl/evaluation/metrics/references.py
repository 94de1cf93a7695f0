"""Single-task metrics that a multi-task network is compared with: of a paper, or of one's own runs."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import METRICS
from mmmtl.utils.files import read_json


@dataclass
class Reference:
    """Metrics to compare with.

    Attributes:
        name: What they are.
        source: Where they are printed.
        metrics: ``{'TASK/METRIC': number}`` in the units of the metrics (fractions, degrees, metres, ...).
        rows: Further rows of the same table, ``{name: (metrics, printed Δm or None)}``.
    """

    name: str
    source: str
    metrics: dict[str, float]
    rows: dict[str, tuple[dict[str, float], float | None]] = field(default_factory=dict)


def read_metrics(path: str) -> dict[str, float]:
    """Metrics of a run.

    Args:
        path: A ``metrics.json``, or a folder that holds one.

    Raises:
        FileNotFoundError: When there is none.
        ConfigError: When it does not hold metrics.
    """
    file = os.path.join(path, 'metrics.json') if os.path.isdir(path) else path
    if not os.path.isfile(file):
        raise FileNotFoundError(f'there is no {file}: evaluate the run with tools/test.py first')
    try:
        content = read_json(file)
        return {str(name): float('nan') if value is None else float(value) for name, value in content.items()}
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f'{file} does not hold metrics, {{"TASK/METRIC": number}} ({error})') from error


def read_reference(reference: str | Mapping[str, Any], primary_metrics: Mapping[str, str] | None = None) -> Reference:
    """A reference from a config, or a file.

    Args:
        reference: A ``metrics.json`` (or run folder) of one's own single-task network; several separated by commas
            are joined, so that each task can have its own run. Or a ``.py`` file as in
            ``configs/_base_/references``, its ``single_task_reference``, or just ``{'TASK/METRIC': number}``.
        primary_metrics: ``{task: metric}`` to take from a ``metrics.json``; default: the first that each metric declares.

    Raises:
        ConfigError: When a config is not one of a reference.
    """
    if isinstance(reference, str):
        if reference.endswith('.py'):
            from mmengine.config import Config

            content = Config.fromfile(reference).to_dict()
            if 'published_rows' in content:
                raise ConfigError(
                    f'{reference} holds rows of several papers, none of which prints single-task metrics: no Δm follows '
                    f"from it. Give the metrics of one's own single-task runs."
                )
            if 'single_task_reference' not in content:
                raise ConfigError(
                    f"{reference} holds no 'single_task_reference'.{suggest('single_task_reference', content)}"
                )
            return read_reference(content['single_task_reference'], primary_metrics)
        paths = reference.split(',')
        joined: dict[str, float] = {}
        for path in paths:
            for name, value in read_metrics(path).items():
                if joined.setdefault(name, value) != value and math.isfinite(value):
                    raise ConfigError(f'{name} differs between the references {reference}: name one run per task')
        joined.pop('delta_m', None)
        chosen = _primary_metrics(joined, primary_metrics or {})
        for name in [name for name, value in chosen.items() if not math.isfinite(value)]:
            raise ConfigError(f'the reference {reference} has {name} = {chosen[name]}, of which nothing is a share')
        return Reference(reference, reference, chosen)
    if 'columns' not in reference:
        return Reference('given', 'config', {name: float(value) for name, value in reference.items()})
    columns, units = reference['columns'], reference.get('units') or [1.0] * len(reference['columns'])
    if 'single_task' not in reference or len(units) != len(columns):
        raise ConfigError(f'the reference lacks single_task, or has {len(units)} units for {len(columns)} columns')

    def as_metrics(values: Sequence[float], where: str) -> dict[str, float]:
        if len(values) < len(columns):
            raise ConfigError(f'{where} of the reference holds {len(values)} numbers for {len(columns)} columns')
        return {name: float(value) * unit for name, value, unit in zip(columns, values, units)}

    rows = {}
    for name, values in reference.get('rows', {}).items():
        printed = float(values[len(columns)]) if len(values) > len(columns) else None
        rows[name] = (as_metrics(values, f'row {name!r}'), printed)
    metrics = as_metrics(reference['single_task'], 'single_task')
    return Reference(reference.get('name', ''), reference.get('source', ''), metrics, rows)


def _primary_metrics(metrics: Mapping[str, float], wanted: Mapping[str, str]) -> dict[str, float]:
    """One metric per task: the one wanted, or the first of those that its metric declares (papers compare by it)."""
    order = list(known_greater_is_better())
    chosen: dict[str, str] = {}
    for name in metrics:
        task, _, metric = name.rpartition('/')
        if task in wanted:
            if metric == wanted[task]:
                chosen[task] = metric
        elif metric in order and (task not in chosen or order.index(metric) < order.index(chosen[task])):
            chosen[task] = metric
    return {f'{task}/{metric}': metrics[f'{task}/{metric}'] for task, metric in chosen.items()}


def known_greater_is_better() -> dict[str, bool]:
    """``{name: is a higher value better}`` of every registered metric, in every protocol.

    Raises:
        ConfigError: When two metrics use one name with opposite directions.
    """
    from .base import TaskMetric

    METRICS.import_from_location()
    found: dict[str, bool] = {}
    for metric in METRICS.module_dict.values():
        if not (isinstance(metric, type) and issubclass(metric, TaskMetric)):
            continue
        for protocol in metric.protocols:
            for name, higher in metric.metrics_of(protocol).items():
                if found.setdefault(name, higher) != higher:
                    raise ConfigError(f"metrics disagree whether '{name}' should be high or low; rename one")
    return found


def greater_is_better_of(names: Sequence[str]) -> dict[str, bool]:
    """Directions of ``'TASK/METRIC'`` names, as far as a registered metric declares them."""
    known = known_greater_is_better()
    return {name: known[name.rpartition('/')[2]] for name in names if name.rpartition('/')[2] in known}


def metric_class(config: Mapping[str, Any]) -> Any:
    """The class that a metric's config names, or is given; None of a name that is not known."""
    METRICS.import_from_location()
    return METRICS.get(config['type']) if isinstance(config['type'], str) else config['type']


def primary_metric_of(task: Any) -> str:
    """The name by which a task is compared, with the protocol that its metric measures by: ``RMSE_upstream``."""
    for config in task.metrics:
        metric = metric_class(config)
        protocol = config.get('protocol') or (metric.protocols[0] if hasattr(metric, 'protocols') else '')
        named = [f'{task.primary_metric}_{protocol}', task.primary_metric]
        declared = metric.metrics_of(protocol) if hasattr(metric, 'metrics_of') else {}
        for name in named:
            if name in declared:
                return name
    return task.primary_metric


def primary_keys(keys: Iterable[str], tasks: Mapping[str, Any]) -> list[str]:
    """Of ``'TASK/METRIC'``, with or without a benchmark in front, those by which a task is compared."""
    wanted = {f'{name}/{primary_metric_of(task)}' for name, task in tasks.items()}
    return [key for key in keys if '/'.join(key.split('/')[-2:]) in wanted]
