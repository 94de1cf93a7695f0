"""What may be chosen at every call of an inferencer, checked against the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.ensemble import sampling

LARGEST = 2**62
"""Noise seeds are numbers of 64 bits, with room for those of an ensemble."""


@dataclass(frozen=True)
class PredictOptions:
    """Options of one call.

    Attributes:
        tasks: Tasks to predict, in the order of the results; None: all.
        steps: Sampling steps of a diffusion decoder; None: as its config says.
        seed: Seed of the noise; None: the config's ``noise_seed``.
        ensemble: Predictions whose mean is taken, from the noise seeds ``seed``, ``seed + 1``, ...
        max_side: Images with a longer side are reduced before; 0: never; None: as the inferencer does.
        batch_size: Images per pass.
    """

    tasks: Sequence[str] | None = None
    steps: int | None = None
    seed: int | None = None
    ensemble: int = 1
    max_side: int | None = None
    batch_size: int = 1

    @property
    def one_by_one(self) -> bool:
        """Whether images go through the network alone, so that not a bit depends on ``batch_size``: where a prediction is
        asked for that can be repeated."""
        return self.seed is not None or self.ensemble > 1

    def check(self, model: Any) -> None:
        """See that a network can do it.

        Raises:
            ConfigError: Names the option, its value and what there is.
        """
        if isinstance(self.tasks, str) or (self.tasks is not None and not all(isinstance(n, str) for n in self.tasks)):
            raise ConfigError(f'tasks must be a list of names, got {self.tasks!r}')
        for name in self.tasks or ():
            if name not in model.tasks:
                near = suggest(name, model.tasks)
                raise ConfigError(f"tasks: the network has no task '{name}', only {', '.join(model.tasks)}.{near}")
        if self.tasks is not None and not self.tasks:
            raise ConfigError(f'tasks is empty: name some of {", ".join(model.tasks)}, or leave it out for all')
        if self.tasks is not None and len(set(self.tasks)) < len(self.tasks):
            raise ConfigError(f'tasks: a name is given twice in {list(self.tasks)}')
        for name, value, low in (
            ('steps', self.steps, 1),
            ('seed', self.seed, 0),
            ('ensemble', self.ensemble, 1),
            ('max_side', self.max_side, 0),
            ('batch_size', self.batch_size, 1),
        ):
            whole = isinstance(value, Integral) and not isinstance(value, bool)
            if value is not None and (not whole or value < low):
                raise ConfigError(f'{name} must be at least {low}, a whole number, got {value!r}')
            if value is not None and value >= LARGEST:
                raise ConfigError(f'{name} must be below 2^62, got {value!r}')
        with sampling(model, self.steps):
            pass
