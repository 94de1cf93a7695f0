"""What every image contributed to an evaluation, in a file: for tables by image, reports and the comparison of runs."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError, FileError, UserError
from mmmtl.evaluation.functional.exact import StateSum
from mmmtl.registry import METRICS, look_up
from mmmtl.utils.files import check_archive, write_atomically

from .base import State, TaskMetric

Key = tuple[str, int]  # a task's name and the index of its metric


RECORDS_FILE = 'records.npz'
"""Name of the file in a run's folder."""


@dataclass
class ImageTable:
    """States of one metric by image.

    Attributes:
        ids: Sample ids (N,).
        fields: ``{name: array (N, ...)}``.
    """

    ids: list[str]
    fields: dict[str, np.ndarray]

    def states(self) -> Iterator[State]:
        """The states, image by image."""
        for i in range(len(self.ids)):
            yield {name: _wide(array[i]) for name, array in self.fields.items()}


@dataclass
class Records:
    """Per-image states of an evaluation, and the configs of the metrics they belong to.

    Attributes:
        tables: States by (task, index of its metric); histograms and the like are left out.
        configs: ``{task: [config of a metric]}``.
    """

    tables: dict[Key, ImageTable] = field(default_factory=dict)
    configs: dict[str, list[dict]] = field(default_factory=dict)

    @classmethod
    def collect(
        cls, records: Iterable[tuple[str, Mapping[Key, State]]], metrics: Mapping[str, Sequence[TaskMetric]]
    ) -> Any:
        """Gather the states of single samples."""
        rows: dict[Key, list[tuple[str, State]]] = {}
        for sample_id, states in records:
            for key, state in states.items():
                bulky = metrics[key[0]][key[1]].bulky
                kept = {name: _small(np.asarray(value)) for name, value in state.items() if name not in bulky}
                if kept:  # what an external metric keeps is bulky altogether
                    rows.setdefault(key, []).append((sample_id, kept))
        tables = {
            key: ImageTable([i for i, _ in kept], {n: _stacked([s[n] for _, s in kept]) for n in kept[0][1]})
            for key, kept in rows.items()
        }
        return cls(tables)

    def save(self, path: str, compress: bool = True) -> None:
        """Write to an ``.npz`` file."""
        arrays: dict[str, Any] = {'configs': np.array(config_text(self.configs))}
        for (task, index), table in self.tables.items():
            arrays[f'{task}|{index}|'] = np.array(table.ids, str)
            arrays.update({f'{task}|{index}|{name}': array for name, array in table.fields.items()})
        write = np.savez_compressed if compress else np.savez
        write_atomically(path, lambda file: write(file, **arrays))

    @classmethod
    def load(cls, path: str) -> Records:
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: When there is no such file.
            ConfigError: When it is not a file of records.
        """
        if not os.path.isfile(path):
            raise FileNotFoundError(f'no records of images at {path}: evaluate the run again with this version')
        try:
            check_archive(path)
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            configs = json.loads(str(arrays.pop('configs')))
            records = cls(configs={str(name): [dict(c) for c in chosen] for name, chosen in configs.items()})
            for name, array in arrays.items():
                task, index, field_name = name.split('|')
                records.configs[task][int(index)]
                table = records.tables.setdefault((task, int(index)), ImageTable([], {}))
                if field_name:
                    table.fields[field_name] = array
                else:
                    table.ids = [str(i) for i in array.tolist()]
            records._check(path)
        except Exception as error:  # broken archives raise errors of every kind
            if isinstance(error, UserError):
                raise
            raise ConfigError(f'{path} does not hold the records of an evaluation ({error})') from error
        return records

    def _check(self, path: str) -> None:
        """Look at what the file says before anything is computed from it.

        Raises:
            ConfigError: Fields of another length than the ids, or a metric that is not a registered one.
        """
        for key, table in self.tables.items():
            wrong = [name for name, array in table.fields.items() if len(array) != len(table.ids)]
            if wrong:
                raise ConfigError(f'{path}: {key[0]} has {len(table.ids)} images and another number of {wrong[0]}')
            try:
                self.metric(key)
            except FileError as error:
                raise ConfigError(f'{path}: {error}') from error

    def metric(self, key: Key) -> TaskMetric:
        """The metric a table belongs to: of a registered class, with arguments that name no class."""
        config = dict(self.configs[key[0]][key[1]])
        kind = look_up(METRICS, config.pop('type', None), TaskMetric)
        if any(isinstance(value, Mapping) and 'type' in value for value in config.values()):
            raise FileError(f'the arguments of its metric {kind.__name__} name a type')
        return METRICS.build(dict(config, type=kind))

    def ids(self) -> list[str]:
        """Ids of all samples with a label of any task, sorted."""
        return sorted(set().union(*(table.ids for table in self.tables.values())))

    def metrics(self) -> dict[str, float]:
        """The numbers of the whole evaluation, to the last digit, except those that need a histogram."""
        found = {}
        for key, table in self.tables.items():
            metric = self.metric(key)
            if metric.ordered:
                total = metric.accumulate(table.states())
            else:
                added = StateSum()
                for state in table.states():
                    added.add(state)
                total = added.total()
            found.update({f'{key[0]}/{name}': value for name, value in metric.compute(total).items()})
        return found

    def check_metrics(self, metrics: Mapping[str, float], path: str) -> None:
        """See that these are the numbers of the same evaluation: a later one may have left the file at ``path`` alone.

        Raises:
            ConfigError: Another number follows from what the images contributed.
        """
        for name, own in self.metrics().items():
            told = metrics.get(name, own)
            if not math.isclose(told, own, rel_tol=1e-6) and not (math.isnan(told) and math.isnan(own)):
                raise ConfigError(
                    f'{path} is of another evaluation than the metrics beside it: {name} is {own:.6g} and {told:.6g}: evaluate '
                    'again, or delete the file'
                )

    def greater_is_better(self) -> dict[str, bool]:
        """``{'TASK/METRIC': is a higher value better}``."""
        return {f'{key[0]}/{name}': higher for key in self.tables for name, higher in self.metric(key).reported.items()}

    def image_metrics(self) -> dict[str, dict[str, float]]:
        """``{sample id: {'TASK/METRIC': value of this image alone}}``."""
        found: dict[str, dict[str, float]] = {}
        for key, table in self.tables.items():
            metric = self.metric(key)
            for sample_id, state in zip(table.ids, table.states()):
                total = metric.accumulate([state]) if metric.ordered else state
                values = {f'{key[0]}/{name}': value for name, value in metric.compute(total).items()}
                found.setdefault(sample_id, {}).update(values)
        return dict(sorted(found.items()))


def config_text(configs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Configs of metrics as JSON, classes by their names."""
    plain = {n: [dict(c, type=getattr(c['type'], '__name__', c['type'])) for c in some] for n, some in configs.items()}
    return json.dumps(plain, default=lambda value: list(value) if isinstance(value, Iterable) else str(value))


def _wide(array: np.ndarray) -> np.ndarray:
    """Counts that can be added without overflow."""
    return np.asarray(array, np.int64) if array.dtype.kind in 'iub' else array


def _small(array: np.ndarray) -> np.ndarray:
    """The same counts in as few bytes as they need; floats stay as they are."""
    if array.dtype.kind not in 'iub':
        return array
    return array.astype(np.min_scalar_type(int(array.max(initial=0))) if array.min(initial=0) >= 0 else np.int64)


def _stacked(arrays: Sequence[np.ndarray]) -> np.ndarray:
    return np.stack([a.astype(np.result_type(*{a.dtype for a in arrays})) for a in arrays])
