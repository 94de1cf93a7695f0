"""Two runs side by side: metrics, Δm over seeds, and a paired bootstrap over images for their difference."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.delta_m import DeltaM, delta_m, mean_and_std
from mmmtl.evaluation.metrics.records import RECORDS_FILE, ImageTable, Records
from mmmtl.evaluation.metrics.references import Reference, greater_is_better_of, read_metrics

Key = tuple[str, int]
_CHUNK = 100  # resamples whose weights are held at once


@dataclass(frozen=True)
class Difference:
    """One metric of two runs.

    Attributes:
        a, b: Mean over each side's runs.
        std_a, std_b: Standard deviation over runs (0 for one).
        low, high: 95 % interval of a - b over resampled images; NaN where a side has no records.
        p: Two-sided bootstrap p-value of "no difference"; NaN likewise.
        greater_is_better: The metric's direction, None when no metric declares it.
    """

    a: float
    b: float
    std_a: float = 0.0
    std_b: float = 0.0
    low: float = float('nan')
    high: float = float('nan')
    p: float = float('nan')
    greater_is_better: bool | None = None

    @property
    def difference(self) -> float:
        """a - b."""
        return self.a - self.b


def check_runs(runs: Sequence[str]) -> None:
    """Raise :class:`ConfigError` where a run stands twice among the seeds of one side, whose deviation would be too small."""
    places = [os.path.realpath(run) for run in runs]
    for run, place in zip(runs, places):
        if places.count(place) > 1:
            raise ConfigError(f'{run} is given twice among the runs of one side ({", ".join(runs)})')


def delta_m_of_runs(
    runs: Sequence[str], reference: Reference, metrics: Sequence[str] | None = None
) -> tuple[list[DeltaM], dict[str, tuple[float, float]]]:
    """Δm of every run, and mean and standard deviation of each metric.

    Args:
        runs: Folders with a ``metrics.json``, or such files: the seeds of one experiment.
        reference: What to compare with.
        metrics: Use only these of the reference's metrics; default: all.
    """
    chosen = {name: reference.metrics[name] for name in metrics} if metrics else reference.metrics
    greater_is_better = greater_is_better_of(list(chosen))
    check_runs(runs)
    measured = [read_metrics(run) for run in runs]
    gains = [delta_m(values, chosen, greater_is_better) for values in measured]
    return gains, {name: mean_and_std([values[name] for values in measured]) for name in chosen}


def compare_runs(
    a: Sequence[str],
    b: Sequence[str],
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> dict[str, Difference]:
    """Every metric that both sides have.

    Args:
        a, b: The runs (seeds) of each side, folders with ``metrics.json`` and, for intervals, ``records.npz``.
        resamples: Bootstrap resamples of the images.
        seed: Of the resampling.
        progress: Wraps the loop over resamples, for a progress bar.
    """
    for side in (a, b):
        check_runs(side)
    sides = [[read_metrics(run) for run in runs] for runs in (a, b)]
    shared = [name for name in sides[0][0] if all(name in values for side in sides for values in side)]
    if not shared:
        raise ConfigError(f'{", ".join(a)} and {", ".join(b)} have no metric in common')
    greater_is_better = greater_is_better_of(shared)
    intervals: dict[str, tuple[float, float, float]] = {}
    files = [[os.path.join(run, RECORDS_FILE) for run in runs] for runs in (a, b)]
    if all(os.path.isfile(path) for side in files for path in side):
        records = [[Records.load(path) for path in side] for side in files]
        for kept, values, path in zip(*(list(chain(*of)) for of in (records, sides, files)), strict=True):
            kept.check_metrics(values, path)
        greater_is_better.update({n: h for n, h in records[0][0].greater_is_better().items() if n in shared})
        intervals = bootstrap(records[0], records[1], resamples, seed, progress)
    found = {}
    for name in shared:
        mean_a, std_a = mean_and_std([values[name] for values in sides[0]])
        mean_b, std_b = mean_and_std([values[name] for values in sides[1]])
        low, high, p = intervals.get(name, (float('nan'),) * 3)
        found[name] = Difference(mean_a, mean_b, std_a, std_b, low, high, p, greater_is_better.get(name))
    return found


def bootstrap(
    a: Sequence[Records],
    b: Sequence[Records],
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> dict[str, tuple[float, float, float]]:
    """Paired bootstrap over images: both sides are computed anew on the same images drawn with replacement.

    Args:
        a, b: Records of each side's runs.
        resamples: How many times.
        seed: Of the draws.
        progress: Wraps the loop.

    Returns:
        ``{'TASK/METRIC': (2.5 %, 97.5 %, p)}`` of mean(a) - mean(b).

    Raises:
        ConfigError: When the runs were not evaluated on the same images by the same metrics.
    """
    ids = a[0].ids()
    for records in (*a, *b):
        _same_evaluation(a[0], records)
    keys = [key for key in a[0].tables if all(key in r.tables for r in (*a, *b))]
    sides = [[{key: _Resampled(r, key, ids) for key in keys} for r in side] for side in (a, b)]
    rng = np.random.default_rng(seed)
    draws: dict[str, list[float]] = {}
    for start in progress(range(0, resamples, _CHUNK)):
        count = min(_CHUNK, resamples - start)
        weights = rng.multinomial(len(ids), np.full(len(ids), 1.0 / len(ids)), size=count)
        for key in keys:
            means = [_mean_metrics([run[key](weights) for run in side]) for side in sides]
            for i in range(count):
                for name in means[0][i].keys() & means[1][i].keys():
                    draws.setdefault(f'{key[0]}/{name}', []).append(means[0][i][name] - means[1][i][name])
    return {name: _interval(np.array(values)) for name, values in draws.items()}


def _interval(differences: np.ndarray) -> tuple[float, float, float]:
    if not np.isfinite(differences).all():
        return (float('nan'),) * 3
    low, high = np.quantile(differences, (0.025, 0.975)).tolist()
    tail = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return low, high, min(1.0, 2.0 * (tail + 1) / (len(differences) + 1))


def _mean_metrics(runs: Sequence[Sequence[Mapping[str, float]]]) -> list[dict[str, float]]:
    """Mean over runs of each resample's metrics."""
    return [{name: float(np.mean([s[name] for s in same])) for name in same[0]} for same in zip(*runs)]


def _same_evaluation(first: Records, other: Records) -> None:
    for key in first.tables.keys() & other.tables.keys():
        rules = [r.configs[key[0]][key[1]] for r in (first, other)]
        if rules[0] != rules[1] and first.metric(key).reported.keys() & other.metric(key).reported.keys():
            raise ConfigError(
                f"task '{key[0]}': the runs were measured by different rules, {rules[0]} and {rules[1]}: evaluate both by one "
                'config'
            )
        mine, theirs = set(first.tables[key].ids), set(other.tables[key].ids)
        if mine != theirs:
            example = sorted(mine ^ theirs)[0]
            raise ConfigError(
                f"task '{key[0]}': the runs were evaluated on different images ({len(mine)} and {len(theirs)}, "
                f'{len(mine & theirs)} in common; for example {example!r} is in one only)'
            )


class _Resampled:
    """Metrics of a table whose images count as often as they were drawn."""

    def __init__(self, records: Records, key: Key, ids: Sequence[str]) -> None:
        place = {sample_id: i for i, sample_id in enumerate(ids)}
        self.metric = records.metric(key)
        self.table: ImageTable = records.tables[key]
        self.columns = np.array([place[i] for i in self.table.ids], np.int64)

    def __call__(self, weights: np.ndarray) -> list[dict[str, float]]:
        """Metrics for each row of ``weights`` (resamples, images)."""
        own = weights[:, self.columns].astype(np.float64)
        totals = {}
        for name, array in self.table.fields.items():
            added = own @ array.reshape(len(array), -1).astype(np.float64)  # counts stay exact below 2^53
            added = np.rint(added).astype(np.int64) if array.dtype.kind in 'iub' else added
            totals[name] = added.reshape(len(weights), *array.shape[1:])
        return [self.metric.compute({n: total[i] for n, total in totals.items()}) for i in range(len(weights))]
