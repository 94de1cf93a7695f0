"""Metrics of other packages (mmengine's contract) as a task's metric."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.evaluator import BaseMetric

from mmmtl.errors import ConfigError
from mmmtl.registry import METRICS

from .base import State, TaskMetric


@METRICS.register_module()
class ExternalMetric(TaskMetric):
    """A metric with mmengine's contract: ``process`` keeps a result per image, ``compute_metrics`` makes numbers of all.

    Each image is given to ``process`` as a data sample with the tensors ``pred`` and ``gt``, also under mmsegmentation's
    names ``pred_sem_seg`` and ``gt_sem_seg`` (each ``dict(data=...)``). What it keeps must consist of tensors, arrays,
    numbers, strings and containers of these.

    Args:
        metric: Config of the metric, or the metric.
        greater_is_better: ``{name: is a higher value better}`` of what it gives, for ``save_best`` and comparisons.
        dataset_meta: What the metric finds as its ``dataset_meta``, for example ``dict(classes=[...])``.
        image_list: See :class:`TaskMetric`.

    Raises:
        ConfigError: What ``metric`` builds is no mmengine metric.
    """

    ordered = True
    bulky = ('results',)

    def __init__(
        self,
        metric: Any,
        greater_is_better: Mapping[str, bool] | None = None,
        dataset_meta: Mapping[str, Any] | None = None,
        image_list: Any = None,
    ) -> None:
        super().__init__(image_list=image_list)
        self.metric = METRICS.build(dict(metric)) if isinstance(metric, Mapping) else metric
        if not isinstance(self.metric, BaseMetric):
            raise ConfigError(f"ExternalMetric: {type(self.metric).__name__} is no metric of mmengine's contract")
        self.metric.dataset_meta = dict(dataset_meta or {})
        self.declared = dict(greater_is_better or {})

    @property
    def reported(self) -> dict[str, bool]:
        return self.declared

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        maps = {'pred': torch.from_numpy(pred), 'gt': torch.from_numpy(gt)}
        sample = {**maps, 'pred_sem_seg': {'data': maps['pred']}, 'gt_sem_seg': {'data': maps['gt']}}
        self.metric.results.clear()
        self.metric.process({}, [sample])
        file = io.BytesIO()
        torch.save(_plain(list(self.metric.results)), file)
        self.metric.results.clear()
        return dict(results=np.frombuffer(file.getvalue(), np.uint8))

    def accumulate(self, states: Iterable[State]) -> State:
        kept = [np.asarray(state['results'], np.uint8) for state in states if 'results' in state]
        return dict(results=np.concatenate(kept), sizes=np.array([len(k) for k in kept])) if kept else {}

    def compute(self, total: State) -> dict[str, float]:
        if not total:
            return {}
        ends = np.cumsum(total['sizes'])
        parts = np.split(total['results'], ends[:-1])
        results = [r for part in parts for r in torch.load(io.BytesIO(part.tobytes()), weights_only=True)]
        return {name: float(value) for name, value in self.metric.compute_metrics(results).items()}


def _plain(value: Any) -> Any:
    """Arrays as tensors and numbers of NumPy as Python's, in nested containers."""
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return type(value)(map(_plain, value)) if isinstance(value, (list, tuple)) else value
