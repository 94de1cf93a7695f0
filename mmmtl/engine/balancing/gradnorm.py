"""Weights that make tasks learn at the same pace."""

from __future__ import annotations

import torch
from torch import Tensor

from mmmtl.registry import BALANCERS

from .base import Balancer, adam_step


@BALANCERS.register_module()
class GradNorm(Balancer):
    """Gradient normalisation (Chen et al., ICML 2018): the norm of every task's weighted gradient in a shared
    layer is drawn to their mean, times the task's relative inverse training rate to the power ``alpha``.

    Weights stay positive and sum to T. That of an absent task is only scaled along with the others.

    Args:
        alpha: Strength with which slow tasks are pulled along.
        lr: Learning rate of the weights; Adam of its own.
        layer: Parameter looked at, or the start of its name; default: the last shared weight matrix.
    """

    wants_norms = True

    def __init__(self, alpha: float = 1.5, lr: float = 0.025, layer: str | None = None) -> None:
        super().__init__()
        self.alpha, self.lr, self.layer = alpha, lr, layer

    def start(self, count: int) -> None:
        self.register_buffer('weights', torch.ones(count))
        self.register_buffer('first_losses', torch.zeros(count))
        self.register_buffer('moments', torch.zeros(2, count))

    def weigh(self, losses: Tensor | None, present: Tensor | None) -> Tensor:
        return self.weights.clone()

    def learn(self, losses: Tensor, present: Tensor, norms: Tensor | None = None) -> None:
        super().learn(losses, present)
        if norms is None:
            raise ValueError('GradNorm needs the gradient norms of the losses')
        fresh = present & (self.first_losses == 0)
        self.first_losses.copy_(torch.where(fresh, losses, self.first_losses))
        if not present.any():
            return
        weighted = self.weights * norms
        rate = losses / self.first_losses.clamp_min(1e-12)
        rate = rate / rate[present].mean().clamp_min(1e-12)
        target = weighted[present].mean() * rate**self.alpha
        gradient = torch.sign(weighted - target) * norms
        adam_step(self.weights, gradient, self.moments, int(self.updates), self.lr, present)
        self.weights.clamp_min_(1e-3)
        self.weights *= len(self.names) / self.weights.sum()
