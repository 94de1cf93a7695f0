"""Which sample comes when: an endless training stream that can be entered anywhere, and an exact evaluation shard."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence, Sized
from typing import Any

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmmtl.errors import ConfigError
from mmmtl.registry import DATA_SAMPLERS
from mmmtl.utils.permutation import SeededPermutation


class SampleIndex(int):
    """An index into a dataset that also knows which draw of the training stream it is.

    A dataset that seeds its augmentation with (seed, ``draw``) gives the same sample whichever worker or rank loads
    it, and whether the run was interrupted. It is an ``int`` everywhere else; ``-`` and ``%``, with which mmengine's
    dataset wrappers pass indices on, keep the draw.

    Args:
        index: The index, >= 0.
        draw: Position in the stream over all ranks, >= 0.
    """

    draw: int

    def __new__(cls, index: int, draw: int) -> SampleIndex:
        self = super().__new__(cls, index)
        self.draw = int(draw)
        return self

    def __getnewargs__(self) -> tuple[int, int]:  # type: ignore[override]
        return int(self), self.draw

    def __sub__(self, other: int) -> SampleIndex:
        return SampleIndex(int(self) - int(other), self.draw)

    def __mod__(self, other: int) -> SampleIndex:
        return SampleIndex(int(self) % int(other), self.draw)

    def __repr__(self) -> str:
        return f'SampleIndex({int(self)}, draw={self.draw})'


CYCLE = 10_000
"""Positions after which the parts of a mixture come in the same order again: shares are exact to 1 in 10,000."""
COMPUTED_FROM = 1_000_000
"""Entries from which on a permutation is computed entry by entry and not stored."""


def permutation(size: int, *seeds: int) -> Sequence[int] | np.ndarray:
    """A permutation of 0 .. size - 1 drawn from seeds: stored, or computed from :data:`COMPUTED_FROM` entries on."""
    if size >= COMPUTED_FROM:
        return SeededPermutation(size, *seeds)  # type: ignore[return-value]
    return np.random.default_rng(list(seeds)).permutation(size)


def _cycle(weights: Sequence[float]) -> np.ndarray:
    """Numbers of parts, (CYCLE,), each as often as its weight says and spread evenly."""
    exact = np.array(weights, float) / sum(weights) * CYCLE
    counts = np.floor(exact).astype(int)
    counts[np.argsort(counts - exact, kind='stable')[: CYCLE - counts.sum()]] += 1
    places = np.concatenate([(np.arange(count) + 0.5) / max(count, 1) for count in counts])
    return np.repeat(np.arange(len(counts)), counts)[np.argsort(places, kind='stable')]


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """An endless stream of indices, fixed by (seed, position), that can be entered at any position at no cost.

    Position p holds entry ``p % n`` of a permutation drawn from (seed, ``p // n``); of a million samples or more, it is
    computed draw by draw and not stored. Positions are dealt to the W ranks in
    blocks of a batch: rank r takes block r, r + W, ... from ``start`` on. With the same total batch size, one step sees
    the same samples on any number of ranks, and with the same ``batch_size`` per rank the same batches.
    :class:`ResumableTrainLoop` says how large a batch is, and sets ``start`` when a run is resumed, so that nothing is
    loaded again.

    Args:
        dataset: The dataset of n > 0 samples.
        shuffle: Whether to permute each pass; otherwise passes are in order.
        seed: Of the permutations, the same on all ranks; None draws one and agrees on it.

    Raises:
        ConfigError: The dataset is empty.
    """

    def __init__(self, dataset: Sized, shuffle: bool = True, seed: int | None = None):
        if len(dataset) == 0:
            raise ConfigError(f'{type(dataset).__name__} has no samples: check its data_root, split and filters')
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset  # batch samplers are given nothing but this sampler
        self.size = len(dataset)
        self.shuffle = shuffle
        self.seed = int(sync_random_seed() if seed is None else seed)
        self.start, self.block = 0, 1
        weights = getattr(dataset, 'weights', None)
        self.weighted = weights is not None
        self.cycle = _cycle(weights) if weights is not None else np.zeros(0, np.int64)

    def deal(self, batch_size: int, accumulation: int = 1) -> None:
        """Deal the positions out in blocks of ``batch_size``; how many blocks make a step is all the same."""
        self.block = batch_size

    def set_start(self, position: int) -> None:
        """Let the next iteration begin at this position (all ranks together), >= 0."""
        if position < 0:
            raise ConfigError(f'the start of a ResumableSampler must be >= 0, got {position}')
        self.start = int(position)

    def order(self, passes: int) -> Sequence[int] | np.ndarray:
        """Return the permutation (n,) of pass number ``passes``."""
        return permutation(self.size, self.seed, passes) if self.shuffle else range(self.size)

    def _positions(self) -> Iterator[int]:
        """This rank's positions, block by block."""
        for first in itertools.count(self.start + self.rank * self.block, self.world_size * self.block):
            yield from range(first, first + self.block)

    def __iter__(self) -> Iterator[SampleIndex]:
        if self.weighted:
            yield from self._weighted_stream()
        current = -1
        order: Sequence[int] | np.ndarray = ()
        for position in self._positions():
            passes, offset = divmod(position, self.size)
            if passes != current:
                current, order = passes, self.order(passes)
            yield SampleIndex(order[offset], position)

    def _weighted_stream(self) -> Iterator[SampleIndex]:
        """The stream of a mixture: which part a position is of repeats after :data:`CYCLE` positions."""
        parts = self.dataset.datasets  # type: ignore[attr-defined]
        first = [0, *itertools.accumulate(len(part) for part in parts)]
        before = np.stack([np.cumsum(self.cycle == n) - (self.cycle == n) for n in range(len(parts))], 1)
        share = np.bincount(self.cycle, minlength=len(parts))
        orders: dict[int, tuple[int, Any]] = {}
        for position in self._positions():
            turn, place = divmod(position, len(self.cycle))
            part = int(self.cycle[place])
            passes, offset = divmod(turn * int(share[part]) + int(before[place, part]), len(parts[part]))
            if orders.get(part, (-1,))[0] != passes:
                size = len(parts[part])
                drawn = permutation(size, self.seed, 4, part, passes) if self.shuffle else range(size)
                orders[part] = passes, drawn
            yield SampleIndex(first[part] + int(orders[part][1][offset]), position)

    def __len__(self) -> int:
        """Return the number of samples in one pass over all ranks; the stream itself has no end."""
        return self.size


@DATA_SAMPLERS.register_module()
class ExactSampler(Sampler):
    """Every sample exactly once over all ranks, in order: nothing is repeated to make the shards equal.

    Rank r of W gets r, r + W, ...; shards differ in length by at most one, and may be empty. Metrics that sum over
    ranks then see each image once.

    Args:
        dataset: The dataset.
        seed: Accepted because mmengine passes it to every sampler; nothing is drawn here.
    """

    def __init__(self, dataset: Sized, seed: int | None = None):
        self.rank, self.world_size = get_dist_info()
        self.indices: Sequence[int] = range(len(dataset))
        self.seed = seed

    def leave_out(self, indices: Collection[int]) -> None:
        """Deal out all samples but these, from now on."""
        self.indices = [index for index in self.indices if index not in indices]

    def __iter__(self) -> Iterator[int]:
        return iter(self.indices[self.rank :: self.world_size])

    def __len__(self) -> int:
        """Return the number of samples of this rank."""
        return len(self.indices[self.rank :: self.world_size])
