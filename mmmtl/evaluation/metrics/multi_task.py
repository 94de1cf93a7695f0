"""The metric of a multi-task evaluation: every task by its own metrics, with the same digits on any number of ranks."""

from __future__ import annotations

import logging
import pickle
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list, get_rank, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmmtl.registry import METRICS, ConfigError

from ..functional.exact import StateSum
from .base import State, TaskMetric

__all__ = ['MultiTaskMetric', 'StateFile', 'as_map']


class StateFile:
    """Per-image states in an unnamed temporary file, so that memory does not grow with the number of images."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix='mmmtl-states-')
        self._places: dict[str, tuple[int, int]] = {}

    def __contains__(self, sample_id: str) -> bool:
        return sample_id in self._places

    def __len__(self) -> int:
        return len(self._places)

    def ids(self) -> list[str]:
        """Sample ids in the order they came."""
        return list(self._places)

    def write(self, sample_id: str, record: Any) -> None:
        """Append the record of a new sample."""
        data = zlib.compress(pickle.dumps(record, pickle.HIGHEST_PROTOCOL), 1)
        self._places[sample_id] = (self._file.seek(0, 2), len(data))
        self._file.write(data)

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Records of ``ids``, one at a time."""
        for sample_id in ids:
            start, length = self._places[sample_id]
            self._file.seek(start)
            yield sample_id, pickle.loads(zlib.decompress(self._file.read(length)))

    def close(self) -> None:
        """Delete the file."""
        self._file.close()


@METRICS.register_module()
class MultiTaskMetric(BaseMetric):
    """Every task's metrics over a dataset: ``{'TASK/FIGURE': number}``.

    The tasks come with the dataset (``dataset_meta['tasks']``), each with the configs of its metrics. A task
    without a label in an image is not measured there; a task without a single valid pixel in the whole
    evaluation reports nothing. Sums are exact and samples are counted once, by their ``sample_id``: the
    result has the same digits for any number of ranks, batch size and order, and padding of uneven shards
    does not count.

    Args:
        collect_device: As for every mmengine metric; states are exchanged as objects either way.
        prefix: Put before the names of figures.
    """

    default_prefix = ''

    def __init__(self, collect_device: str = 'cpu', prefix: str | None = None) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        self.metrics: dict[str, list[TaskMetric]] = {}
        self._states: StateFile | None = None

    @property
    def dataset_meta(self) -> dict | None:
        """Meta information of the dataset; holds ``tasks``."""
        return self._dataset_meta

    @dataset_meta.setter
    def dataset_meta(self, meta: dict) -> None:
        if not meta or 'tasks' not in meta:
            raise ConfigError(
                "MultiTaskMetric needs a dataset whose metainfo holds 'tasks' (every mmmtl dataset does); "
                f'this one holds {sorted(meta or {})}'
            )
        self._dataset_meta = meta
        self.metrics = {name: build_metrics(name, task.metrics) for name, task in meta['tasks'].items()}

    @property
    def figures(self) -> dict[str, bool]:
        """``{'TASK/FIGURE': is a higher value better}`` of everything that may be reported."""
        return {f'{name}/{figure}': higher
                for name, metrics in self.metrics.items() for metric in metrics
                for figure, higher in metric.figures.items()}  # fmt: skip

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Measure a batch of samples that hold labels and predictions (``MTLDataSample`` or its ``to_dict``)."""
        if not self.metrics:
            raise RuntimeError('MultiTaskMetric.process was called before dataset_meta was set')
        if self._states is None:
            self._states = StateFile()
        for sample in data_samples:
            sample_id = str(_field(sample, 'sample_id'))
            if sample_id not in self._states:
                gt, pred = _maps(sample, 'gt'), _maps(sample, 'pred')
                self._states.write(sample_id, self.measure(sample_id, pred, gt))

    def measure(
        self, sample_id: str, pred: Mapping[str, Any], gt: Mapping[str, Any]
    ) -> dict[tuple[str, int], State]:
        """States of one sample: ``{(task, index of its metric): state}`` for the tasks that have a label."""
        states = {}
        for name, metrics in self.metrics.items():
            if name not in gt:
                continue
            if name not in pred:
                raise ValueError(
                    f"sample '{sample_id}': the label of task '{name}' is there but no prediction; the model "
                    f'predicts {sorted(pred)}. Leave the task out of the dataset or train a model for it.'
                )
            value, label = as_map(pred[name]), as_map(gt[name])
            if value.shape[-2:] != label.shape[-2:]:
                raise ValueError(
                    f"sample '{sample_id}', task '{name}': prediction is {value.shape[-2:]} and label "
                    f'{label.shape[-2:]} (height, width); both must have the original image size'
                )
            for index, metric in enumerate(metrics):
                try:
                    states[name, index] = metric.measure(value, label)
                except ValueError as error:
                    raise ValueError(f"sample '{sample_id}', task '{name}': {error}") from error
        return states

    def evaluate(self, size: int) -> dict[str, float]:
        """Add up all ranks and compute the figures.

        Args:
            size: Number of samples in the dataset; a different number of distinct sample ids is reported.
        """
        states = self._states or StateFile()
        everyone = all_gather_object(states.ids())
        elsewhere = set().union(*everyone[: get_rank()])
        sums: dict[tuple[str, int], StateSum] = {}
        for _, record in states.read([i for i in states.ids() if i not in elsewhere]):
            for key, state in record.items():
                sums.setdefault(key, StateSum()).add(state)
        states.close()
        self._states = None
        gathered = all_gather_object(sums)
        distinct = len(set().union(*everyone))
        if distinct != size:
            print_log(f'MultiTaskMetric saw {distinct} distinct sample ids, the dataset has {size} samples',
                      logger='current', level=logging.WARNING)  # fmt: skip
        result = [self._figures_of(gathered) if is_main_process() else None]
        broadcast_object_list(result)
        return result[0] or {}

    def compute_metrics(self, results: list) -> dict:
        """Figures of per-rank sums; :meth:`evaluate` calls it with the sums of all ranks."""
        return self._figures_of(results)

    def _figures_of(self, gathered: Sequence[Mapping[tuple[str, int], StateSum]]) -> dict[str, float]:
        figures: dict[str, float] = {}
        prefix = f'{self.prefix}/' if self.prefix else ''
        for name, metrics in self.metrics.items():
            for index, metric in enumerate(metrics):
                total = StateSum()
                for sums in gathered:
                    if (name, index) in sums:
                        total.merge(sums[name, index])
                if total.count:
                    for figure, value in metric.compute(total.total()).items():
                        figures[f'{prefix}{name}/{figure}'] = value
        return figures


def build_metrics(name: str, configs: Sequence[Mapping[str, Any]]) -> list[TaskMetric]:
    """Metrics of a task from their configs.

    Raises:
        ConfigError: When a config is wrong or two metrics of the task give figures of the same name.
    """
    metrics: list[TaskMetric] = []
    seen: set[str] = set()
    for config in configs:
        try:
            metric = METRICS.build(dict(config))
        except ValueError as error:
            raise ConfigError(f"metric of task '{name}': {error}") from error
        if not isinstance(metric, TaskMetric):
            raise ConfigError(f"metric of task '{name}': {config['type']} is not a TaskMetric")
        twice = seen & set(metric.figures)
        if twice:
            raise ConfigError(
                f"metrics of task '{name}': {sorted(twice)} would be reported twice; give one a protocol"
            )
        seen |= set(metric.figures)
        metrics.append(metric)
    return metrics


def as_map(value: Any) -> np.ndarray:
    """Tensor or array as a contiguous array; an integer (1, H, W) map becomes (H, W)."""
    if hasattr(value, 'detach'):
        value = value.detach().cpu().numpy()
    array = np.ascontiguousarray(value)
    return array[0] if array.dtype.kind in 'iub' and array.ndim == 3 and len(array) == 1 else array


def _field(sample: Any, name: str) -> Any:
    if isinstance(sample, Mapping):
        if name in sample:
            return sample[name]
        if f'_{name}' in sample:  # to_dict of a data element keeps the private name
            return sample[f'_{name}']
        raise ValueError(f"a data sample has no '{name}'; it has {sorted(sample)}")
    if not hasattr(sample, name):
        raise ValueError(f"a data sample has no '{name}'; it has {sorted(sample.keys())}")
    return getattr(sample, name)


def _maps(sample: Any, name: str) -> dict[str, Any]:
    maps = _field(sample, name)
    return dict(maps) if isinstance(maps, Mapping) else dict(maps.items())
