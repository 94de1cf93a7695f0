"""The metric of a multi-task evaluation: every task by its own metrics, the same digits on any number of ranks."""

from __future__ import annotations

import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, broadcast_object_list, get_dist_info, is_main_process
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmmtl.errors import ConfigError, InputError
from mmmtl.evaluation.functional.delta_m import delta_m
from mmmtl.evaluation.functional.exact import StateSum
from mmmtl.registry import METRICS

from .base import State, TaskMetric
from .exchange import in_order, own_ids
from .external import ExternalMetric
from .pool import MeasurePool, automatic_workers
from .record_parts import write_records
from .references import Reference, primary_metric_of, read_reference
from .states import StateFile

Key = tuple[str, int]  # a task's name and the index of its metric


@METRICS.register_module()
class MultiTaskMetric(BaseMetric):
    """Every task's metrics over a dataset: ``{'TASK/METRIC': number}``.

    The tasks come with the dataset (``dataset_meta['tasks']``), each with the configs of its metrics. A task
    without a label in an image is not measured there; a task without a single valid pixel in the whole evaluation
    reports nothing. Sums are exact and samples are counted once, by their ``sample_id``: the result has the same
    digits for any number of ranks, batch size and order, and padding of uneven shards does not count.

    Args:
        workers: Processes for slow metrics (boundary matching), so that they do not hold up the network. Default:
            some where there is a GPU, none otherwise.
        records: File (``.npz``) for what every image contributed, from which runs are compared and reports made
            (:class:`~mmmtl.evaluation.metrics.records.Records`). Default: not written.
        reference: Single-task metrics from which Δm is reported as ``delta_m``, in percent: a ``metrics.json``, a file
            of ``configs/_base_/references``, or ``{'TASK/METRIC': number}``. Default: no Δm.
        collect_device: As for every mmengine metric; states are exchanged as objects either way.
        prefix: Put before all names.

    Attributes:
        worker_seconds: Processor time that the workers took in the last evaluation.
    """

    default_prefix = ''

    def __init__(
        self,
        workers: int | None = None,
        records: str | None = None,
        reference: str | Mapping[str, Any] | None = None,
        collect_device: str = 'cpu',
        prefix: str | None = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if workers is not None and workers < 0:
            raise ConfigError(f'MultiTaskMetric: workers must not be negative, got {workers}')
        self.workers = workers
        self.records = records
        self.reference = reference
        self._reference: Reference | None = None
        self.metrics: dict[str, list[TaskMetric]] = {}
        self._seen: set[str] = set()
        self._states: StateFile | None = None
        self.records_error: OSError | None = None
        self._pool: MeasurePool | None = None
        self.worker_seconds = 0.0

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
        for text in meta.get('measured_alike', ()):
            print_log(text, logger='current', level=logging.WARNING)
        self.metrics = {name: build_metrics(name, task.metrics) for name, task in meta['tasks'].items()}
        for name, metric in ((n, m) for n, some in self.metrics.items() for m in some):
            count, classes = getattr(metric, 'num_classes', None), getattr(meta['tasks'][name], 'num_classes', None)
            if count != classes and count is not None:
                raise ConfigError(
                    f"metric of task '{name}': {type(metric).__name__}.num_classes={count}, the task has {classes}"
                )
        if self.reference:
            primary_metrics = {name: primary_metric_of(task) for name, task in meta['tasks'].items()}
            self._reference = read_reference(self.reference, primary_metrics)
            if left_out := set(primary_metrics) - {name.partition('/')[0] for name in self._reference.metrics}:
                print_log(
                    f'Δm against {self._reference.name} leaves out {", ".join(sorted(left_out))}: the reference lacks '
                    f'{", ".join(f"{name}/{primary_metrics[name]}" for name in sorted(left_out))}',
                    logger='current',
                    level=logging.WARNING,
                )

    @property
    def greater_is_better(self) -> dict[str, bool]:
        """``{'TASK/METRIC': is a higher value better}`` of everything that may be reported."""
        found = self._of_tasks()
        if self.reference:
            found['delta_m'] = True
        return {f'{self.prefix}/{name}': higher for name, higher in found.items()} if self.prefix else found

    def _of_tasks(self) -> dict[str, bool]:
        return {
            f'{name}/{key}': higher
            for name, metrics in self.metrics.items()
            for metric in metrics
            for key, higher in metric.reported.items()
        }

    def keep_progress(self, folder: str) -> set[str]:
        """Keep what is measured in files of ``folder`` until the evaluation is complete, and go on from those there.

        Call it on all ranks, before the first batch.

        Returns:
            Ids of the samples that need not be measured again.
        """
        rank, ranks = get_dist_info()
        self._states = StateFile(os.path.join(folder, f'{rank}.states'))
        numbers = [int(path.stem) for path in Path(folder).glob('*.states') if path.stem.isdigit()]
        for number in sorted(n for n in numbers if n >= ranks and n % ranks == rank):  # of a run with more processes
            other = StateFile(os.path.join(folder, f'{number}.states'))
            for sample_id, states in other.read(other.ids()):
                self._states.write(sample_id, states)
            other.close()
        self._seen = set().union(*all_gather_object(self._states.ids()))
        return set(self._seen)

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Measure a batch of samples that hold labels and predictions (``MTLDataSample`` or its ``to_dict``)."""
        if not self.metrics:
            raise RuntimeError('MultiTaskMetric.process was called before dataset_meta was set')
        for sample in data_samples:
            sample_id = str(_field(sample, 'sample_id'))
            if sample_id in self._seen:
                continue
            self._seen.add(sample_id)
            self._keep(self._measure(sample_id, _maps(sample, 'pred'), _maps(sample, 'gt')))

    def _measure(self, sample_id: str, pred: Mapping[str, Any], gt: Mapping[str, Any]) -> Iterator[tuple[str, dict]]:
        """Measure the labelled tasks of a sample; yields samples that are complete, this one or earlier ones."""
        states: dict[Key, State] = {}
        slow = []
        for name, metrics in self.metrics.items():
            if name not in gt:
                continue
            if name not in pred:
                raise InputError(
                    f"sample '{sample_id}': the label of task '{name}' is there but no prediction; the model "
                    f'predicts {sorted(pred)}. Leave the task out of the dataset or train a model for it.'
                )
            value, label = as_map(pred[name]), as_map(gt[name])
            for index, metric in enumerate(metrics):
                if not metric.includes(sample_id):
                    continue
                arguments = (metric, f"sample '{sample_id}', task '{name}'", value, label)
                if metric.slow:
                    slow.append(((name, index), measure, arguments))
                else:
                    states[name, index] = measure(*arguments)
        if self._pool is None:
            self._pool = MeasurePool(automatic_workers() if self.workers is None else self.workers)
        for (done_id, done), results in self._pool.submit((sample_id, states), slow):
            yield done_id, {**done, **results}

    def _keep(self, complete: Iterator[tuple[str, dict]]) -> None:
        if self._states is None:
            self._states = StateFile()
        for sample_id, states in complete:
            self._states.write(sample_id, states)

    def evaluate(self, size: int) -> dict[str, float]:
        """Add up all ranks and compute the metrics.

        Args:
            size: Number of samples in the dataset; a different number of distinct sample ids is reported.
        """
        if self._pool is not None:
            self._keep((name, {**done, **late}) for (name, done), late in self._pool.finish())
            self.worker_seconds = self._pool.seconds
        states, self._states, self._pool, self._seen = self._states or StateFile(), None, None, set()
        own, distinct = own_ids(states.ids())
        tell_count(self, distinct, size)
        gathered = all_gather_object(self._add_up(states.read(own)))
        gathered.append(self._accumulate(states, own))
        result: list[dict[str, float] | None] = [None]
        if is_main_process():
            result[0] = self.compute_metrics(gathered)
        broadcast_object_list(result)
        if self.records:
            self.records_error = write_records(self.records, states, own, self.metrics, self._configs())
            if self.records_error:
                print_log(f'{self.records_error}', logger='current', level=logging.ERROR)
        states.close()
        return result[0] or {}

    def _add_up(self, records: Iterator[tuple[str, dict[Key, State]]]) -> dict[Key, StateSum]:
        """Sums of this rank, of the metrics whose result does not depend on the order of images."""
        sums: dict[Key, StateSum] = {}
        for _, record in records:
            for key, state in record.items():
                if not self.metrics[key[0]][key[1]].ordered:
                    sums.setdefault(key, StateSum()).add(state)
        return sums

    def _accumulate(self, states: StateFile, own: Sequence[str]) -> dict[Key, tuple[int, State]]:
        """Number of images and total of the metrics whose result depends on their order; totals in the first process."""
        totals: dict[Key, tuple[int, State]] = {}
        for name, metrics in self.metrics.items():
            for index, metric in enumerate(metrics):
                if not metric.ordered:
                    continue
                seen = _Counted(in_order(states, own, (name, index)))
                total = metric.accumulate(seen) if is_main_process() else {}
                deque(seen, maxlen=0)  # every process goes to the end
                if seen.count:
                    totals[name, index] = (seen.count, total)
        return totals

    def compute_metrics(self, results: Sequence[Mapping[Key, Any]]) -> dict[str, float]:
        """Metrics from the sums of all ranks."""
        found: dict[str, float] = {}
        for name, metrics in self.metrics.items():
            for index, metric in enumerate(metrics):
                parts = [sums[name, index] for sums in results if (name, index) in sums]
                count, total = self._total(metric, parts)
                self._check_list(name, metric, count)
                if not parts:
                    continue
                values = metric.compute(total)
                if count and not values:
                    print_log(
                        f"task '{name}': {type(metric).__name__} measured nothing in {count} labelled images: every pixel of "
                        'their labels is unknown, or out of the range that it measures',
                        logger='current',
                        level=logging.WARNING,
                    )
                for key, value in values.items():
                    found[f'{name}/{key}'] = value
        if self._reference and found:
            found.update(gain_over(found, self._reference.metrics, self._of_tasks(), self._reference.name))
        return {f'{self.prefix}/{name}': value for name, value in found.items()} if self.prefix else found

    @staticmethod
    def _total(metric: TaskMetric, parts: Sequence[Any]) -> tuple[int, State]:
        """Number of images and their added states, from the sums of several ranks."""
        if metric.ordered:
            return parts[0] if parts else (0, {})
        added = StateSum()
        for part in parts:
            added.merge(part)
        return added.count, added.total()

    @staticmethod
    def _check_list(name: str, metric: TaskMetric, count: int) -> None:
        if metric.image_list is not None:
            short = count < len(metric.image_list)
            print_log(
                f"{type(metric).__name__} of task '{name}' measured {count} of the {len(metric.image_list)} images "
                f'in its image_list' + (': sample ids that are not in the data, or not labelled, are missing' * short),
                logger='current',
                level=logging.WARNING if short else logging.INFO,
            )

    def _configs(self) -> dict[str, list[dict]]:
        tasks = (self._dataset_meta or {})['tasks']
        return {name: [dict(config) for config in task.metrics] for name, task in tasks.items()}


class _Counted(Iterator[State]):
    """An iterator that counts what it has given."""

    def __init__(self, states: Iterator[State]) -> None:
        self.states, self.count = states, 0

    def __next__(self) -> State:
        state = next(self.states)
        self.count += 1
        return state


def gain_over(
    metrics: Mapping[str, float], reference: Mapping[str, float], better: Mapping[str, bool], name: str
) -> dict[str, float]:
    """``delta_m`` over the reference of this name; empty where there is none, and the log says why."""
    try:
        return {'delta_m': delta_m(metrics, reference, better).value}
    except ValueError as error:
        print_log(f'no Δm against {name}: {error}', logger='current', level=logging.WARNING)
        return {}


def tell_count(metric: BaseMetric, distinct: int, size: int) -> None:
    """Say in the log that another number of samples was measured than there are."""
    if distinct != size:
        told = f'{type(metric).__name__} saw {distinct} distinct sample ids, the dataset has {size} samples'
        print_log(told, logger='current', level=logging.WARNING)


def measure(metric: TaskMetric, where: str, pred: np.ndarray, gt: np.ndarray) -> State:
    """Measure one map, with errors that say which.

    Raises:
        InputError: When the sizes differ or a map holds what it must not.
    """
    if pred.shape[-2:] != gt.shape[-2:]:
        raise InputError(
            f'{where}: prediction is {pred.shape[-2:]} and label {gt.shape[-2:]} (height, width); '
            'both must have the original image size'
        )
    if gt.dtype.kind == 'f' and gt.ndim == 3 and pred.shape[:-2] != gt.shape[:-2]:
        raise InputError(f'{where}: prediction has shape {pred.shape} and label {gt.shape}; their channels must agree')
    try:
        state = metric.measure(pred, gt)
    except ValueError as error:
        raise InputError(f'{where}: {error}') from error
    if not isinstance(state, Mapping) or not all(np.asarray(value).dtype.kind in 'biuf' for value in state.values()):
        raise ConfigError(
            f'{where}: {type(metric).__name__}.measure must give a dictionary of numbers and arrays, found {state!r:.80}'
        )
    return state


def build_metrics(name: str, configs: Sequence[Mapping[str, Any]]) -> list[TaskMetric]:
    """Metrics of a task from their configs.

    Raises:
        ConfigError: When a config is wrong or two metrics of the task report the same name.
    """
    metrics: list[TaskMetric] = []
    seen: set[str] = set()
    for config in configs:
        try:
            metric = METRICS.build(dict(config))
        except ValueError as error:
            raise ConfigError(f"metric of task '{name}': {error}") from error
        if isinstance(metric, BaseMetric) and not isinstance(metric, MultiTaskMetric):
            metric = ExternalMetric(metric)
        if not isinstance(metric, TaskMetric):
            raise ConfigError(
                f"metric of task '{name}': {config['type']} is neither a TaskMetric nor a metric of mmengine's contract"
            )
        twice = seen & set(metric.reported)
        if twice:
            raise ConfigError(f"metrics of task '{name}': {sorted(twice)} would be reported twice; give one a protocol")
        seen |= set(metric.reported)
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
        raise InputError(f"a data sample has no '{name}'; it has {sorted(sample)}")
    if not hasattr(sample, name):
        raise InputError(f"a data sample has no '{name}'; it has {sorted(sample.keys())}")
    return getattr(sample, name)


def _maps(sample: Any, name: str) -> dict[str, Any]:
    maps = _field(sample, name)
    return dict(maps) if isinstance(maps, Mapping) else dict(maps.items())
