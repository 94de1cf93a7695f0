"""What the labels of a data set hold: how many there are, how much is unknown, which classes and values occur."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mmmtl.tasks import IGNORE, Task
from mmmtl.utils.tables import format_table

from .base import MTLDataset

_KEPT, _LABELS = 1000, 2000
"""Values of a label that are kept for quantiles, and labels of which they are."""


@dataclass
class LabelValues:
    """What the labels of one task hold; several can be added up.

    Attributes:
        labels: Labels looked at.
        blank: Of these, labels without a known pixel.
        pixels, unknown: Pixels, and pixels without a label.
        classes: Pixels of each class (categorical tasks).
        low, high: Smallest and largest value (continuous tasks).
        values: Some of the values, (n,) each, of one label of every ``step``; of a vector its length.
    """

    labels: int = 0
    blank: int = 0
    pixels: int = 0
    unknown: int = 0
    classes: Counter = field(default_factory=Counter)
    low: float = np.inf
    high: float = -np.inf
    values: list[np.ndarray] = field(default_factory=list)
    step: int = 1

    @classmethod
    def of(cls, task: Task, label: np.ndarray) -> LabelValues:
        """Of one label."""
        known: np.ndarray = np.asarray(task.valid(label))
        made = cls(1, int(not known.any()), known.size, int(known.size - known.sum()))
        if task.categorical:
            counts = np.bincount(label.reshape(-1), minlength=IGNORE + 1)[:IGNORE]
            made.classes = Counter({int(c): int(counts[c]) for c in np.flatnonzero(counts)})
        elif known.any():
            numbers = label[:, known]
            made.low, made.high = float(numbers.min()), float(numbers.max())
            some = numbers[:, :: max(1, numbers.shape[1] // _KEPT)]
            made.values = [some[0] if len(some) == 1 else np.linalg.norm(some, axis=0)]
        return made

    def add(self, other: LabelValues) -> None:
        """Count another's labels too."""
        self.values += other.values if self.labels % self.step == 0 else []
        if len(self.values) > _LABELS:  # as many for a million labels as for thousands
            self.values, self.step = self.values[::2], 2 * self.step
        for name in ('labels', 'blank', 'pixels', 'unknown'):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.classes.update(other.classes)
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    @property
    def median(self) -> float:
        """Of the values (NaN without any)."""
        return float(np.median(np.concatenate(self.values))) if self.values else float('nan')

    def describe(self, task: Task) -> str:
        """What occurs, in a few words."""
        if task.categorical:
            names, total = getattr(task, 'classes', []), sum(self.classes.values())
            shown = [f'{names[c]} {100 * n / total:.3g} %' for c, n in self.classes.most_common(5)]
            rest = len(self.classes) - len(shown)
            return ', '.join(shown + ([f'and {rest} more'] if rest > 0 else []))
        if not self.values:
            return ''
        of = ' of the length' if task.label_channels > 1 else ''
        return f'{self.low:.4g} to {self.high:.4g} {getattr(task, "unit", "")}, median{of} {self.median:.4g}'

    def warnings(self, task: Task, complete: bool) -> list[str]:
        """What is suspicious; ``complete`` if every label was looked at."""
        name, found = f"task '{task.name}'", []
        if self.labels and self.blank == self.labels:
            return [f'{name}: every pixel of all {self.labels} labels is unknown: is the mark of unknown pixels right?']
        if task.categorical and self.labels:
            classes = getattr(task, 'classes', [])
            never = [n for c, n in enumerate(classes) if not self.classes[c]]
            if never and (complete or len(self.classes) == 1):
                listed = ', '.join(map(repr, never[:8])) + (f' and {len(never) - 8} more' if len(never) > 8 else '')
                found.append(f'{name}: of {len(classes)} classes {listed} never occur in {self.labels} labels')
        low, high = getattr(task, 'usual_median', (-np.inf, np.inf))
        if self.values and not low <= self.median <= high:
            found.append(
                f'{name}: the median is {self.median:.4g} {getattr(task, "unit", "")}, usual is {low:g} to {high:g}: are '
                'scale and unit right?'
            )
        return found


class DatasetValues:
    """The labels of all tasks of a data set.

    Args:
        tasks: ``{name: Task}``.
        labelled: Labelled samples of every task.
        samples: Samples of the data set.
    """

    def __init__(self, tasks: Mapping[str, Task], labelled: Mapping[str, int], samples: int) -> None:
        self.tasks, self.labelled, self.samples = dict(tasks), dict(labelled), samples
        self.values = {name: LabelValues() for name in tasks}

    def add(self, found: Mapping[str, LabelValues]) -> None:
        """Count a sample's labels."""
        for name, values in found.items():
            self.values[name].add(values)

    def table(self) -> str:
        """A row per task."""
        rows = []
        for name, v in self.values.items():
            share = (
                f'{self.labelled[name]} of {self.samples} ({100 * self.labelled[name] / max(self.samples, 1):.3g} %)'
            )
            unknown = f'{100 * v.unknown / v.pixels:.3g} %' if v.pixels else '-'
            rows.append([name, share, str(v.labels), unknown, v.describe(self.tasks[name])])
        return format_table(['task', 'labelled', 'looked at', 'unknown', 'values'], rows, right=(2, 3))

    def warnings(self) -> list[str]:
        """What is suspicious in any task."""
        return [
            line
            for name, v in self.values.items()
            for line in v.warnings(self.tasks[name], v.labels >= self.labelled[name])
        ]

    def draw(self, path: str) -> str:
        """Write a picture: a histogram per task. Returns ``path``."""
        from matplotlib.figure import Figure

        from mmmtl.utils.files import write_atomically

        names = [name for name, v in self.values.items() if v.classes or v.values]
        figure = Figure(figsize=(6, 2.6 * max(1, len(names))), layout='constrained')
        for axes, name in zip(np.ravel(figure.subplots(max(1, len(names)))), names):
            task, v = self.tasks[name], self.values[name]
            axes.set_title(f'{name}: {self.labelled[name]} of {self.samples} samples labelled')
            if task.categorical:
                classes = getattr(task, 'classes', [])
                total = sum(v.classes.values())
                axes.bar(range(len(classes)), [100 * v.classes[c] / total for c in range(len(classes))])
                axes.set_xticks(range(len(classes)), classes, rotation=60, ha='right', fontsize=6)
                axes.set_ylabel('% of known pixels')
            else:
                axes.hist(np.concatenate(v.values), bins=60)
                axes.set_xlabel(
                    ('length in ' if task.label_channels > 1 else '') + (getattr(task, 'unit', '') or 'value')
                )
                axes.set_ylabel('pixels')
        kind = path.rsplit('.', 1)[-1]
        return write_atomically(path, lambda file: figure.savefig(file, format=kind, dpi=120))


def leaf_datasets(dataset: Any) -> Iterator[MTLDataset]:
    """The data sets that wrappers (concatenated, repeated, balanced) hold."""
    if isinstance(dataset, MTLDataset):
        yield dataset
    for inner in [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or ())]:
        if inner is not None and not isinstance(inner, str):
            yield from leaf_datasets(inner)


def empty_values(dataset: MTLDataset) -> DatasetValues:
    """Counts of a data set of which nothing has been looked at; no label file is opened."""
    dataset.full_init()
    return DatasetValues(dataset.tasks, {n: len(dataset.labelled(n)) for n in dataset.tasks}, len(dataset))


def sample_values(dataset: MTLDataset, labels: int = 24, seconds: float = 5.0) -> DatasetValues:
    """Look at some visible labels of every task, evenly spread over the samples.

    Args:
        dataset: The data set.
        labels: How many of each task.
        seconds: Stop after this time.
    """
    end = time.monotonic() + seconds
    having = {name: dataset.labelled(name) for name in dataset.tasks}
    found = DatasetValues(dataset.tasks, {name: len(places) for name, places in having.items()}, len(dataset))
    chosen: dict[int, list[str]] = {}
    for name, places in having.items():
        for k in places[:: max(1, -(-len(places) // labels))].tolist():
            chosen.setdefault(k, []).append(name)
    for k in sorted(
        chosen, key=lambda place: place * 2654435761 % 2**32
    ):  # mixed: a part that ends early is spread too
        if time.monotonic() > end:
            break
        info = dataset.get_data_info(k)
        for name in chosen[k]:
            label = dataset.load_label(info, name)
            if label is not None:
                found.add({name: LabelValues.of(dataset.tasks[name], label)})
    return found
