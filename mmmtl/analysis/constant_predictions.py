"""The floor any network must beat: the best prediction that is the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from mmmtl.evaluation import MultiTaskMetric
from mmmtl.evaluation.metrics.references import primary_metric_of
from mmmtl.structures import MTLDataSample, plain_map


def best_constants(dataset: Any, metrics: Mapping[str, bool] | None = None) -> dict[str, float]:
    """The best metrics that one value everywhere reaches on a data set, value by value chosen with its labels in sight.

    Args:
        dataset: Data set whose items hold data samples; its ``metainfo['tasks']`` are asked for their candidates.
        metrics: ``{'TASK/METRIC': is higher better}`` to keep; default: each task's primary metric.

    Returns:
        ``{'TASK/METRIC': value}``.
    """
    tasks = dataset.metainfo['tasks']
    labels = [dataset[i]['data_samples'] for i in range(len(dataset))]
    candidates = {
        name: task.constant_predictions([plain_map(getattr(s.gt, name)) for s in labels if name in s.gt])
        for name, task in tasks.items()
    }
    wanted = metrics or {f'{name}/{primary_metric_of(task)}' for name, task in tasks.items()}
    best: dict[str, float] = {}
    for k in range(max(map(len, candidates.values()))):
        chosen = {name: values[k] for name, values in candidates.items() if k < len(values)}
        metric = MultiTaskMetric()
        metric.dataset_meta = dict(dataset.metainfo, tasks={name: tasks[name] for name in chosen})
        for sample in labels:
            metric.process({}, [_with_constant(sample, chosen)])
        greater_is_better = metric.greater_is_better
        for key, value in metric.evaluate(len(labels)).items():
            if key in wanted and (key not in best or (value > best[key]) == greater_is_better[key]):
                best[key] = float(value)
    return best


def _with_constant(sample: MTLDataSample, values: Mapping[str, np.ndarray]) -> MTLDataSample:
    """A data sample whose prediction of every task in ``values`` is that value everywhere."""
    height, width = next(iter(sample.gt.values())).shape[-2:]
    copy = MTLDataSample(metainfo=sample.metainfo)
    copy.gt = {name: getattr(sample.gt, name) for name in values if name in sample.gt}
    copy.pred = {n: torch.from_numpy(v).reshape(-1, 1, 1).expand(-1, height, width) for n, v in values.items()}
    return copy
