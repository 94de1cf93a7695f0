"""Gradient aggregators of the library torchjd: PCGrad, CAGrad, MGDA, Nash-MTL, UPGrad, IMTL-G, Aligned-MTL, more."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import BALANCERS
from mmmtl.utils.signatures import unknown_arguments

from .base import Balancer

_INSTALL = "pip install 'mmmtl[balancing]'"
_SOLVERS = "pip install 'mmmtl[balancing-gpl]' (ecos, quadprog, qpsolvers: under the GPL and the LGPL)"
_DEFAULTS: dict[str, dict[str, Any]] = {'CAGrad': {'c': 0.4}}


@BALANCERS.register_module()
class TorchJD(Balancer):
    """One direction out of the tasks' gradients, by an aggregator of ``torchjd.aggregation``.

    Costs a backward pass and a copy of the shared parameters' gradient per task. The warm start of Nash-MTL's
    solver is not in checkpoints.

    Args:
        aggregator: Class name: ``PCGrad``, ``CAGrad``, ``MGDA``, ``NashMTL``, ``UPGrad``, ``IMTLG``,
            ``AlignedMTL``, ...
        scale: Factor of the direction. Some aggregators average (``MGDA``), others add up (``PCGrad``); the
            learning rate may have to follow.
        seed: Of aggregators that draw (``PCGrad``: the order of the tasks); the same on all ranks.
        **options: Arguments of the aggregator (``c=0.4`` of ``CAGrad``).
    """

    aggregates = True

    def __init__(self, aggregator: str = 'UPGrad', scale: float = 1.0, seed: int = 0, **options: Any) -> None:
        super().__init__()
        self.scale, self.seed = scale, seed
        self.factory = _find(aggregator)
        self.options = {**_DEFAULTS.get(aggregator, {}), **options}
        wrong = unknown_arguments(self.factory.__init__, self.options)
        if wrong:
            listed = ', '.join(f"'{n}'.{near}" for n, near in wrong.items())
            raise ConfigError(f'TorchJD: {aggregator} takes no argument {listed}')
        self._aggregators: dict[int, Any] = {}
        self._of(2)  # a missing solver or argument is reported now

    def _of(self, count: int) -> Any:
        """The aggregator for ``count`` gradients; those with a memory have one per number."""
        if count not in self._aggregators:
            sized = 'n_tasks' in inspect.signature(self.factory.__init__).parameters
            try:
                self._aggregators[count] = self.factory(**self.options, **({'n_tasks': count} if sized else {}))
            except ImportError as error:
                raise ImportError(f'{self.factory.__name__} needs a solver: {_SOLVERS}') from error
            except TypeError as error:
                raise ConfigError(f'TorchJD: {error}') from error
        return self._aggregators[count]

    def aggregate(self, gradients: Tensor) -> Tensor:
        if len(gradients) < 2:
            return gradients.sum(0) * self.scale
        with torch.random.fork_rng(
            devices=[gradients.device] if gradients.is_cuda else []
        ):  # the seed is set on GPUs too
            torch.manual_seed(self.seed * 1_000_003 + int(self.updates))
            return self._of(len(gradients))(gradients) * self.scale


def _find(name: str) -> Any:
    try:
        import torchjd.aggregation as library
    except ImportError as error:
        raise ImportError(f'gradient aggregators come from the library torchjd: {_INSTALL}') from error
    known = [n for n, v in vars(library).items() if inspect.isclass(v) and issubclass(v, library.Aggregator)]
    if name not in known or name == 'Aggregator':
        raise ConfigError(f"TorchJD: torchjd has no aggregator '{name}'.{suggest(name, known)}")
    return getattr(library, name)
