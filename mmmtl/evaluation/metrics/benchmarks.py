"""Several data sets in one evaluation, each compared by its own rules, and their gain over a reference."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.dist import all_gather_object
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import METRICS, TASKS

from .multi_task import MultiTaskMetric, _field, gain_over, tell_count


@METRICS.register_module()
class BenchmarkMetric(BaseMetric):
    """Metrics of data sets that are evaluated together: ``{'BENCHMARK/TASK/METRIC': number}``.

    Which data set a sample belongs to stands before the first slash of its id (the transform ``PrefixSampleId``
    puts it there). Every data set has its own tasks and metrics, each a :class:`MultiTaskMetric`. Data sets that
    are not there report nothing.

    Args:
        benchmarks: ``{name: dict(tasks={task: config})}``: the tasks as the data set compares them.
        reference: ``{'BENCHMARK/TASK/METRIC': number}`` of single-task models, for the metric ``delta_m``: the
            mean gain in percent over those metrics that were measured. Default: none.
    """

    default_prefix = ''

    def __init__(
        self,
        benchmarks: Mapping[str, Mapping[str, Any]],
        reference: Mapping[str, float] | None = None,
        collect_device: str = 'cpu',
    ) -> None:
        super().__init__(collect_device=collect_device)
        if not benchmarks:
            raise ConfigError('BenchmarkMetric: benchmarks is empty')
        self.parts: dict[str, MultiTaskMetric] = {}
        for name, part in benchmarks.items():
            if set(part) != {'tasks'}:
                raise ConfigError(f"BenchmarkMetric.benchmarks['{name}'] must be dict(tasks=...), got {sorted(part)}")
            built = {task: TASKS.build(dict(config, name=task)) for task, config in part['tasks'].items()}
            self.parts[name] = MultiTaskMetric()
            self.parts[name].dataset_meta = dict(tasks=built)
        self.reference = dict(reference or {})
        for metric in self.reference:
            if metric not in self.greater_is_better:
                near = suggest(metric, self.greater_is_better)
                raise ConfigError(f"BenchmarkMetric.reference: '{metric}' is no metric of the benchmarks.{near}")
        self._ids: dict[str, set[str]] = {name: set() for name in self.parts}

    @property
    def greater_is_better(self) -> dict[str, bool]:
        """``{'BENCHMARK/TASK/METRIC': is a higher value better}``."""
        found = {
            f'{name}/{metric}': higher
            for name, part in self.parts.items()
            for metric, higher in part.greater_is_better.items()
        }
        return dict(found, delta_m=True) if self.reference else found

    def process(self, data_batch: Any, data_samples: Sequence[Any]) -> None:
        """Measure a batch of samples that hold labels and predictions."""
        for sample in data_samples:
            sample_id = str(_field(sample, 'sample_id'))
            name = sample_id.split('/')[0]
            if name not in self.parts:
                raise ConfigError(
                    f"sample '{sample_id}': '{name}' is not a benchmark ({sorted(self.parts)})."
                    f"{suggest(name, self.parts)} Give the data set dict(type='PrefixSampleId', name=...)"
                )
            self._ids[name].add(sample_id)
            self.parts[name].process(data_batch, [sample])

    def evaluate(self, size: int) -> dict[str, float]:
        """Add up all ranks and compute the metrics of every data set, and the gain over the reference."""
        metrics: dict[str, float] = {}
        distinct = 0
        for name, part in self.parts.items():
            own, self._ids[name] = self._ids[name], set()
            seen = set().union(*all_gather_object(own))
            distinct += len(seen)
            if seen:
                metrics.update({f'{name}/{key}': value for key, value in part.evaluate(len(seen)).items()})
        tell_count(self, distinct, size)
        measured = {name: base for name, base in self.reference.items() if name in metrics}
        if missing := sorted(set(self.reference) - set(measured)):
            print_log(f'Δm leaves out {", ".join(missing)}: not measured', logger='current', level=logging.WARNING)
        if measured:
            metrics.update(gain_over(metrics, measured, self.greater_is_better, 'the reference'))
        return metrics

    def compute_metrics(self, results: list) -> dict:
        """Unused: :meth:`evaluate` asks every data set's metric."""
        raise TypeError('BenchmarkMetric adds up in evaluate')
