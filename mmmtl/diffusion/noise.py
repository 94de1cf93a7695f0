"""Noise sources: every random number of a stochastic decoder has a name and can be replayed.

A decoder asks its source for named draws. Predictions draw from a generator seeded by (seed, sample id, name), so
they do not depend on batch size, order, rank or device; training draws from one generator whose state goes into
checkpoints; recorded draws replay a run.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmmtl.errors import suggest
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


def _generate(generator: torch.Generator, shape: Sequence[int], kind: str) -> Tensor:
    draw = torch.randn if kind == 'normal' else torch.rand
    return draw(tuple(shape), generator=generator)


class GeneratorNoise(NoiseSource):
    """Draws in order from one CPU generator (training).

    Args:
        seed: Seed; give every rank its own.
    """

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def seed(self, seed: int) -> None:
        """Start again from ``seed``."""
        self.generator.manual_seed(seed)

    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        return _generate(self.generator, shape, kind)

    def __getstate__(self) -> dict:
        return {'state': self.generator.get_state()}

    def __setstate__(self, state: dict) -> None:
        self.generator = torch.Generator()
        self.generator.set_state(state['state'])


class SampleNoise(NoiseSource):
    """Draws that depend on (seed, sample id, name) alone (prediction).

    Args:
        seed: Seed of the run.
        sample_ids: One id per image of the batch.
    """

    def __init__(self, seed: int, sample_ids: Sequence[str]) -> None:
        self.seed, self.sample_ids = seed, list(sample_ids)

    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        rows = range(len(self.sample_ids)) if index is None else index.tolist()
        if shape[0] != len(rows):
            raise ValueError(f"noise '{name}' has {shape[0]} rows for {len(rows)} samples")
        draws = []
        for row in rows:
            generator = torch.Generator().manual_seed(seed_of(self.seed, self.sample_ids[row], name))
            draws.append(_generate(generator, shape[1:], kind))
        return torch.stack(draws)


class RecordedNoise(NoiseSource):
    """Replays recorded draws; a uniform draw is recorded in its final range.

    Args:
        draws: ``{name: tensor}``.
    """

    def __init__(self, draws: Mapping[str, Tensor]) -> None:
        self.draws = dict(draws)

    def _draw(self, name: str, shape: Sequence[int], kind: str, index: Tensor | None) -> Tensor:
        if name not in self.draws:
            raise KeyError(f"no recorded noise '{name}'.{suggest(name, self.draws)} Recorded: {sorted(self.draws)}")
        draw = self.draws[name]
        if index is not None and len(draw) != shape[0]:
            draw = draw[index.to(draw.device)]
        if tuple(draw.shape) != tuple(shape):
            raise ValueError(
                f"recorded noise '{name}' has shape {tuple(draw.shape)}, the network asks for {tuple(shape)}"
            )
        return draw.clone()

    def uniform(
        self, name: str, shape: Sequence[int], low: float, high: float, like: Tensor, index: Tensor | None = None
    ) -> Tensor:
        return self._draw(name, shape, 'uniform', index).to(like)
