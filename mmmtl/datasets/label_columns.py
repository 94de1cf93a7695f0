"""Who is labelled with what, decided on columns: the assignments of ``label_samplers`` for millions of samples at once.

A set of tasks is a whole number with a bit per task, in the order of the tasks; a column holds one for every sample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from mmmtl.utils.seeding import stable_hash, stable_hashes


@dataclass(frozen=True)
class IdColumn:
    """The ids of a data set, in parts.

    Attributes:
        parts: A function that iterates over lists of ids in UTF-8, all ids in order.
        at: A function that gives the id at a place.
        count: Number of ids.
    """

    parts: Callable[[], Iterator[list[bytes]]]
    at: Callable[[int], str]
    count: int

    @classmethod
    def of(cls, ids: Sequence[str]) -> IdColumn:
        """Of ids in memory."""
        return cls(lambda: iter([[i.encode() for i in ids]]), lambda place: ids[place], len(ids))


def set_type(tasks: int) -> np.dtype:
    """The smallest type of whole numbers with a bit per task."""
    return np.dtype(f'u{next(size for size in (1, 2, 4, 8) if tasks <= 8 * size)}')


def one_label(ids: IdColumn, available: np.ndarray, tasks: Sequence[str], seed: int) -> np.ndarray:
    """The assignment of :class:`~mmmtl.datasets.label_samplers.OneLabel`.

    Args:
        ids: The ids.
        available: (n,) sets of tasks whose label exists.
        tasks: All tasks, in the data set's order.
        seed: Seed of the draw.

    Returns:
        (n,) sets of the labelled tasks.
    """
    if not ids.count:
        return available.copy()
    ranks = np.concatenate([stable_hashes(('one', seed), part) for part in ids.parts()])
    counts = np.zeros(len(available), np.uint8)
    for bit in range(len(tasks)):
        counts += (available >> bit & 1).astype(np.uint8)
    places = np.lexsort((ranks, counts))
    _sort_ties(places, ranks, counts, ids.at)
    order = sorted(range(len(tasks)), key=lambda t: stable_hash('one-task', seed, tasks[t]))
    filled = [0] * len(tasks)
    chosen = bytearray()
    candidates: dict[int, list[int]] = {}
    some = 1 << 20
    for start in range(0, len(places), some):
        for kinds in available[places[start : start + some]].tolist():
            if kinds not in candidates:
                candidates[kinds] = [t for t in order if kinds >> t & 1]
            own = candidates[kinds]
            if own:
                task = min(own, key=filled.__getitem__)
                filled[task] += 1
                chosen.append(task)
            else:
                chosen.append(255)
    numbers = np.frombuffer(chosen, np.uint8)
    sets = np.zeros(256, available.dtype)
    sets[: len(tasks)] = 1 << np.arange(len(tasks), dtype=np.uint64)
    result = np.empty(len(places), available.dtype)
    result[places] = sets[numbers]
    return result


def _sort_ties(places: np.ndarray, ranks: np.ndarray, counts: np.ndarray, at: Callable[[int], str]) -> None:
    """Put samples that are alike in count and hash in the order of their ids."""
    alike = (ranks[places[1:]] == ranks[places[:-1]]) & (counts[places[1:]] == counts[places[:-1]])
    ends = np.flatnonzero(np.diff(np.concatenate([[0], alike.astype(np.int8), [0]])))
    for start, end in zip(ends[::2].tolist(), ends[1::2].tolist()):
        places[start : end + 1] = sorted(places[start : end + 1].tolist(), key=at)


def random_labels(
    ids: IdColumn, available: np.ndarray, tasks: Sequence[str], seed: int, low: int, high: int
) -> np.ndarray:
    """The assignment of :class:`~mmmtl.datasets.label_samplers.RandomLabels`; ``low`` and ``high`` within the tasks.

    Args:
        ids, available, tasks, seed: As of :func:`one_label`.
        low, high: Fewest and most tasks drawn.

    Returns:
        (n,) sets of the labelled tasks.
    """
    results, start = [np.zeros(0, available.dtype)], 0
    for part in ids.parts():
        there = available[start : start + len(part)]
        start += len(part)
        drawn = low + (stable_hashes(('count', seed), part) % np.uint64(high - low + 1)).astype(np.int64)
        hashes = np.stack([stable_hashes(('random', seed), part, (task,)) for task in tasks], 1)
        order = np.argsort(hashes, axis=1, kind='stable')
        exists = (there[:, None].astype(np.uint64) >> order.astype(np.uint64)) & np.uint64(1)
        kept = exists.astype(bool) & (np.arange(len(tasks)) < drawn[:, None])
        first = exists.astype(bool) & (np.cumsum(exists, 1) == 1)
        kept = np.where(kept.any(1, keepdims=True), kept, first)
        results.append((kept.astype(np.uint64) << order.astype(np.uint64)).sum(1).astype(available.dtype))
    return np.concatenate(results)


def through_names(
    assign: Callable[[dict[str, Sequence[str]], Sequence[str]], dict[str, tuple[str, ...]]],
    ids: IdColumn,
    available: np.ndarray,
    tasks: Sequence[str],
) -> np.ndarray:
    """The assignment of any label sampler, through a dictionary of all samples.

    Args:
        assign: :meth:`~mmmtl.datasets.label_samplers.LabelSampler.assign`.
        ids, available, tasks: As of :func:`one_label`.

    Returns:
        (n,) sets of the labelled tasks.
    """
    names = [i.decode() for part in ids.parts() for i in part]
    sets = {kinds: [t for k, t in enumerate(tasks) if kinds >> k & 1] for kinds in np.unique(available).tolist()}
    labels = assign({i: sets[kinds] for i, kinds in zip(names, available.tolist())}, tasks)
    bits = {task: 1 << number for number, task in enumerate(tasks)}
    return np.array([sum(bits[t] for t in labels[i]) for i in names], available.dtype)
