"""Which sample comes when: an endless training stream that can be entered anywhere, and an exact evaluation shard."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence, Sized

import numpy as np
from mmengine.dist import get_dist_info, sync_random_seed
from torch.utils.data import Sampler

from mmmtl.errors import ConfigError
from mmmtl.registry import DATA_SAMPLERS


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


@DATA_SAMPLERS.register_module()
class ResumableSampler(Sampler):
    """An endless stream of indices, fixed by (seed, position), that can be entered at any position at no cost.

    Position p holds entry ``p % n`` of a permutation drawn from (seed, ``p // n``). Positions are dealt to the W ranks in
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

    def deal(self, batch_size: int, accumulation: int = 1) -> None:
        """Deal the positions out in blocks of ``batch_size``; how many blocks make a step is all the same."""
        self.block = batch_size

    def set_start(self, position: int) -> None:
        """Let the next iteration begin at this position (all ranks together), >= 0."""
        if position < 0:
            raise ConfigError(f'the start of a ResumableSampler must be >= 0, got {position}')
        self.start = int(position)

    def order(self, passes: int) -> np.ndarray:
        """Return the permutation (n,) of pass number ``passes``."""
        if not self.shuffle:
            return np.arange(self.size)
        return np.random.default_rng([self.seed, passes]).permutation(self.size)

    def __iter__(self) -> Iterator[SampleIndex]:
        first, current, order = self.start + self.rank * self.block, -1, np.empty(0, dtype=np.int64)
        while True:
            for position in range(first, first + self.block):
                passes, offset = divmod(position, self.size)
                if passes != current:
                    current, order = passes, self.order(passes)
                yield SampleIndex(order[offset], position)
            first += self.world_size * self.block

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
