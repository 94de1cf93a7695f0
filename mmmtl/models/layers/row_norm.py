"""Batch norm of batches of one, many rows at a time."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.ops.norm_act import statistics_are_frozen


class RowNorm(nn.Module):
    """Batch norm of batches of one: every row of a batch has its own statistics in training.

    The running statistics, for evaluation, are what as many single rows one after another would leave. It is no
    ``BatchNorm2d`` to the eye of tools that synchronise batch norms over processes: rows have nothing to share.

    Args:
        channels: C.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.register_buffer('running_mean', torch.zeros(channels))
        self.register_buffer('running_var', torch.ones(channels))
        self.register_buffer('num_batches_tracked', torch.tensor(0))

    def forward(self, x: Tensor, scale: Tensor | None = None, shift: Tensor | None = None) -> Tensor:
        """(P, C, h, w); ``scale`` and ``shift`` (P, C) act after the norm's own weight and bias."""
        rows, channels = x.shape[:2]
        weight, bias = self.weight.expand(rows, -1), self.bias.expand(rows, -1)
        if scale is not None and shift is not None:
            weight, bias = weight * scale, bias * scale + shift
        if not self.training:
            factor = (weight * torch.rsqrt(self.running_var + self.eps))[..., None, None]
            return (x - self.running_mean[:, None, None]) * factor + bias[..., None, None]
        mean, variance = x.new_zeros(2, rows * channels, dtype=self.running_mean.dtype)
        out = F.batch_norm(
            x.reshape(1, -1, *x.shape[2:]), mean, variance, weight.reshape(-1), bias.reshape(-1), True, 1.0, self.eps
        )
        if not statistics_are_frozen():
            self._remember(mean.view(rows, -1), variance.view(rows, -1))
        return out.view(x.shape)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        rows, momentum = len(mean), self.momentum
        shares = momentum * (1 - momentum) ** torch.arange(rows - 1, -1, -1, device=mean.device, dtype=mean.dtype)
        for running, seen in ((self.running_mean, mean), (self.running_var, variance)):
            running.mul_((1 - momentum) ** rows).add_(shares @ seen)
        self.num_batches_tracked += rows
