"""What the processes of an evaluation tell each other: which images each counts, and states in one order, block by block."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence

import numpy as np
from mmengine.dist import all_gather_object, get_rank

from mmmtl.utils.seeding import stable_hash

from .base import State
from .states import Key, StateFile

BLOCK = 256
"""Images of a process that are exchanged at a time."""


def own_ids(ids: Sequence[str]) -> tuple[list[str], int]:
    """Share out images that several processes have measured; every process calls this.

    Only 64-bit hashes of the ids are exchanged: 8 bytes an image.

    Args:
        ids: Images that this process has measured.

    Returns:
        Those that no earlier process has, and how many different ones there are over all.
    """
    hashes = np.fromiter((stable_hash(i) for i in ids), np.uint64, len(ids))
    everyone: list[np.ndarray] = all_gather_object(hashes)
    earlier = np.concatenate([hashes[:0], *everyone[: get_rank()]])
    taken = np.isin(hashes, earlier)
    return [i for i, there in zip(ids, taken) if not there], int(len(np.unique(np.concatenate(everyone))))


def in_order(states: StateFile, own: Sequence[str], key: Key) -> Iterator[State]:
    """One metric's states of all processes in the order of the sample ids, a few at a time.

    Every process iterates to the end; all get all states.

    Args:
        states: What this process has measured.
        own: The images of it that this process counts.
        key: The metric.
    """
    ids, place = sorted(own), 0
    starts = sorted(set().union(*all_gather_object(ids[::BLOCK])))  # between two of them nobody has more than a block
    for number in range(len(starts)):
        end = bisect_left(ids, starts[number + 1]) if number + 1 < len(starts) else len(ids)
        mine = [(i, record[key]) for i, record in states.read(ids[place:end]) if key in record]
        place = end
        for _, state in sorted(
            (entry for part in all_gather_object(mine) for entry in part), key=lambda entry: entry[0]
        ):
            yield state
