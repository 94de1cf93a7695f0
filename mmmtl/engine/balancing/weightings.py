"""Weights from the losses alone."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import BALANCERS

from .base import Balancer, adam_step


@BALANCERS.register_module()
class FixedWeights(Balancer):
    """Constant weights on top of the tasks' own ``loss_weight``.

    Args:
        weights: ``{task: weight}``; tasks not named weigh 1.
    """

    def __init__(self, weights: Mapping[str, float] | None = None) -> None:
        super().__init__()
        self.weights = dict(weights or {})

    def start(self, count: int) -> None:
        for name in self.weights:
            if name not in self.names:
                raise ConfigError(f"FixedWeights: the model has no task '{name}'.{suggest(name, self.names)}")
        values = [float(self.weights.get(name, 1.0)) for name in self.names]
        self.register_buffer('values', torch.tensor(values), persistent=False)

    def weigh(self, losses: Tensor | None, present: Tensor | None) -> Tensor:
        return self.values


@BALANCERS.register_module()
class Uncertainty(Balancer):
    """Homoscedastic uncertainty: sum of exp(-s_t) L_t / 2 + s_t / 2, s learned (Kendall, Gal and Cipolla,
    CVPR 2018).

    At the optimum exp(s_t) = L_t. The s of an absent task rests.

    Args:
        lr: Learning rate of s; Adam of its own.
        initial: s at the start.
    """

    def __init__(self, lr: float = 1e-3, initial: float = 0.0) -> None:
        super().__init__()
        self.lr, self.initial = lr, initial

    def start(self, count: int) -> None:
        self.register_buffer('log_variances', torch.full((count,), float(self.initial)))
        self.register_buffer('moments', torch.zeros(2, count))

    def weigh(self, losses: Tensor | None, present: Tensor | None) -> Tensor:
        return 0.5 * torch.exp(-self.log_variances)

    def learn(self, losses: Tensor, present: Tensor, norms: Tensor | None = None) -> None:
        super().learn(losses, present)
        gradient = 0.5 * (1 - losses * torch.exp(-self.log_variances))
        adam_step(self.log_variances, gradient, self.moments, int(self.updates), self.lr, present)


@BALANCERS.register_module()
class DWA(Balancer):
    """Dynamic weight average: T · softmax(r / temperature), r the ratio of a task's last two mean losses
    (Liu, Johns and Davison, CVPR 2019).

    Args:
        window: Updates that a mean loss is taken over (the paper: an epoch).
        temperature: Softness of the weights.
    """

    def __init__(self, window: int = 100, temperature: float = 2.0) -> None:
        super().__init__()
        if window < 1 or temperature <= 0:
            raise ConfigError(f'DWA: window and temperature must be positive, got {window} and {temperature}')
        self.window, self.temperature = window, temperature

    def start(self, count: int) -> None:
        self.register_buffer('means', torch.zeros(2, count))  # the last two windows, newest first
        self.register_buffer('sums', torch.zeros(2, count))  # of losses, and of updates with the task present

    def weigh(self, losses: Tensor | None, present: Tensor | None) -> Tensor:
        known = (self.means > 0).all(0)
        ratio = torch.where(known, self.means[0] / self.means[1].clamp_min(1e-12), torch.ones_like(self.means[0]))
        return len(self.names) * (ratio / self.temperature).softmax(0)

    def learn(self, losses: Tensor, present: Tensor, norms: Tensor | None = None) -> None:
        super().learn(losses, present)
        self.sums += torch.stack((losses, present.to(losses.dtype)))
        if int(self.updates) % self.window == 0:
            mean = self.sums[0] / self.sums[1].clamp_min(1)
            # a task absent for a whole window keeps its past
            seen = self.sums[1] > 0
            self.means[1] = torch.where(seen, self.means[0], self.means[1])
            self.means[0] = torch.where(seen, mean, self.means[0])
            self.sums.zero_()


@BALANCERS.register_module()
class GLS(Balancer):
    """Geometric loss strategy: the geometric mean of the present tasks' losses (Chennupati et al., CVPRW
    2019).

    As weights: the mean over (number present · L_t), constant, which has the same gradient. They depend on
    the losses of the update itself.
    """

    foresees = False

    def weigh(self, losses: Tensor | None, present: Tensor | None) -> Tensor:
        if losses is None or present is None:
            raise ValueError('GLS weighs the losses of the update: it needs them')
        count = present.sum().clamp_min(1)
        logs = torch.where(present, losses.clamp_min(1e-12).log(), 0.0)
        return torch.where(present, (logs.sum() / count).exp() / (count * losses.clamp_min(1e-12)), 0.0)


@BALANCERS.register_module()
class RLW(Balancer):
    """Random loss weighting: T · softmax of standard normal draws, new at every update (Lin et al., TMLR
    2022).

    Args:
        seed: Of the draws, the same on all ranks.
    """

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.seed = seed

    def weigh(self, losses: Tensor | None, present: Tensor | None) -> Tensor:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + int(self.updates))
        draws = torch.randn(len(self.names), generator=generator)
        return (len(self.names) * draws.softmax(0)).to(self.updates.device)
