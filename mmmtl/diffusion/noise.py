"""Noise sources: every random number of a stochastic decoder has a name and can be replayed.

A decoder asks its source for named draws. Predictions draw from a generator seeded by (seed, sample id, name), so
they do not depend on batch size, order, rank or device; training draws by the sample's position in the training
stream, or in order from one generator; recorded draws replay a run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmmtl.errors import InputError, suggest
from mmmtl.utils.seeding import seed_of


class NoiseSource(ABC):
    """Draws named random tensors.

    Every draw has one row per sample. Where only some samples of the batch take part, ``index`` (n,) says which.
    """

    @abstractmethod
    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        """float32 tensor on the CPU; ``kind`` is ``normal`` (standard) or ``uniform`` ([0, 1))."""

    def normal(self, name: str, shape: Sequence[int], like: Tensor, index: Tensor | None = None) -> Tensor:
        """Standard normal draw ``name`` of ``shape``, with the device and dtype of ``like``."""
        return self._draw(name, shape, 'normal', index).to(like)

    def uniform(
        self, name: str, shape: Sequence[int], low: float, high: float, like: Tensor, index: Tensor | None = None
    ) -> Tensor:
        """Uniform draw ``name`` of ``shape`` in [``low``, ``high``), with the device and dtype of ``like``."""
        return self._draw(name, shape, 'uniform', index).mul_(high - low).add_(low).to(like)


def _seeded(*parts: object) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*parts))


def _generate(generator: torch.Generator, shape: Sequence[int], kind: str) -> Tensor:
    draw = torch.randn if kind == 'normal' else torch.rand
    return draw(tuple(shape), generator=generator)


class GeneratorNoise(NoiseSource):
    """Draws of training.

    Told which samples come (:meth:`enter`), a sample's row depends on (seed, its position in the training stream, name)
    alone, and what is drawn for a batch as a whole on its first position: training sees the same noise on any number of
    processes. Otherwise draws come in order from one CPU generator.

    Args:
        seed: Seed of the generator; give every rank its own.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)
        self._positions: tuple[int, int, int] | None = None
        self._drawn: dict[str, int] = {}

    def seed(self, seed: int) -> None:
        """Start again from ``seed``, in order."""
        self.generator.manual_seed(seed)
        self._positions = None

    def enter(self, seed: int, first: int, rows: int) -> None:
        """Draw for the batch of samples ``first`` .. ``first`` + ``rows`` - 1 of the stream from now on.

        Args:
            seed: The run's, the same in every process.
            first: Position of the first sample, >= 0.
            rows: Samples in the batch.
        """
        self._positions, self._drawn = (seed, first, rows), {}

    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        if self._positions is None:
            return _generate(self.generator, shape, kind)
        seed, first, rows = self._positions
        times = self._drawn[name] = self._drawn.get(name, 0) + 1
        places = range(rows) if index is None else index.tolist()
        if len(shape) == 0 or shape[0] != len(places):  # of the batch as a whole
            return _generate(_seeded(seed, first, name, times), shape, kind)
        draws = [_generate(_seeded(seed, first + row, name, times), shape[1:], kind) for row in places]
        return torch.stack(draws) if draws else torch.empty(tuple(shape))

    def __getstate__(self) -> dict:
        return {'state': self.generator.get_state()}

    def __setstate__(self, state: dict) -> None:
        self.__init__()  # type: ignore[misc]
        self.generator.set_state(state['state'])


_LIBRARY = torch.library.Library('mmmtl', 'DEF')
_LIBRARY.define('sample_noise(int seed, str[] ids, str name, SymInt[] shape, str kind) -> Tensor')


@torch.library.impl(_LIBRARY, 'sample_noise', 'CompositeExplicitAutograd')
def _sample_noise(seed: int, ids: Sequence[str], name: str, shape: Sequence[int], kind: str) -> Tensor:
    """A row for every id; without ids the rows' numbers are the ids."""
    rows = ids or map(str, range(shape[0]))
    return torch.stack([_generate(_seeded(seed, row, name), shape[1:], kind) for row in rows])


@torch.library.register_fake('mmmtl::sample_noise', lib=_LIBRARY)
def _sample_noise_shape(seed: int, ids: Sequence[str], name: str, shape: Sequence[int], kind: str) -> Tensor:
    return torch.empty(tuple(shape), device='cpu')


class SampleNoise(NoiseSource):
    """Draws that depend on (seed, sample id, name) alone (prediction).

    A draw is one operation, which a graph of ``torch.compile`` can hold: generators and hashes are within.

    Args:
        seed: Seed of the run.
        sample_ids: One id per image of the batch; None: the images' places in the batch.
    """

    def __init__(self, seed: int, sample_ids: Sequence[str] | None) -> None:
        self.seed, self.sample_ids = seed, list(sample_ids or [])

    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        ids = self.sample_ids
        if index is not None:
            ids = [ids[row] if ids else str(row) for row in index.tolist()]
        if ids and shape[0] != len(ids):
            raise InputError(f"noise '{name}' has {shape[0]} rows for {len(ids)} samples")
        return torch.ops.mmmtl.sample_noise(self.seed, ids, name, shape, kind)


class RecordedNoise(NoiseSource):
    """Replays recorded draws; a uniform draw is recorded in its final range.

    Args:
        draws: ``{name: tensor}``.
    """

    def __init__(self, draws: Mapping[str, Tensor]) -> None:
        self.draws = dict(draws)

    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        if name not in self.draws:
            raise InputError(f"no recorded noise '{name}'.{suggest(name, self.draws)} Recorded: {sorted(self.draws)}")
        draw = self.draws[name]
        if index is not None and draw.shape[0] != shape[0]:
            draw = draw[index.to(draw.device)]
        if tuple(draw.shape) != tuple(shape):
            raise InputError(
                f"recorded noise '{name}' has shape {tuple(draw.shape)}, the network asks for {tuple(shape)}"
            )
        return draw.clone()

    def uniform(
        self, name: str, shape: Sequence[int], low: float, high: float, like: Tensor, index: Tensor | None = None
    ) -> Tensor:
        return self._draw(name, shape, 'uniform', index).to(like)
