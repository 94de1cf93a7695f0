"""Convolutions of low rank, their gated sums, and their collapse into one kernel."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import conv1x1
from .dispatch import predicting, served
from .gemm import matmul


class LowRankConv2d(nn.Module):
    """3x3 to ``rank`` channels and 1x1 back, nothing in between; (B, C, h, w) → the same shape."""

    def __init__(self, channels: int, rank: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, rank, 3, padding=1)
        self.up = nn.Conv2d(rank, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.up(self.down(x))

    def kernel(self, factor: Tensor) -> Tensor:
        """3x3 kernel (C, C, 3, 3) of the pair, its output scaled by ``factor`` (scalar or (C,)); channels-last."""
        up = self.up.weight.flatten(1) * factor.reshape(-1, 1)
        down = self.down.weight.permute(0, 2, 3, 1).flatten(1)
        return matmul(up, down).reshape(len(up), 3, 3, -1).permute(0, 3, 1, 2)

    def bias(self, factor: Tensor) -> Tensor:
        """(C,): bias that goes with :meth:`kernel`."""
        return (self.up.weight.flatten(1) @ self.down.bias + self.up.bias) * factor


def gated_sum(x: Tensor, pairs: Sequence[LowRankConv2d], gates: Tensor) -> Tensor:
    """``sum(gates[:, e] * pairs[e](x))`` as one pair of convolutions.

    Args:
        x: (B, C, h, w).
        pairs: n convolutions, whose ranks may differ.
        gates: (B, n).
    """
    gates = gates.to(x.dtype)
    if not served('low_rank', x):
        return torch.stack([pair(x) * gate[:, None, None, None] for pair, gate in zip(pairs, gates.unbind(1))]).sum(0)
    down = F.conv2d(x, torch.cat([p.down.weight for p in pairs]), torch.cat([p.down.bias for p in pairs]), padding=1)
    ranks = torch.tensor([p.down.out_channels for p in pairs], device=x.device)
    down = down * gates.repeat_interleave(ranks, 1)[:, :, None, None]
    total = conv1x1(down, torch.cat([p.up.weight for p in pairs], 1))
    return total + (gates @ torch.stack([p.up.bias for p in pairs]).to(x.dtype))[:, :, None, None]


def collapsing_pays(x: Tensor) -> bool:
    """Whether one kernel for all is cheaper than pairs: it costs 9·C² per rank to make, a pair 10·C per position."""
    return predicting() and 9 * x.shape[1] < 10 * x.shape[2] * x.shape[3]


def collapsed_sum(
    x: Tensor, conv: nn.Conv2d, offset: Tensor, terms: Sequence[Iterable[tuple[LowRankConv2d, Tensor]]]
) -> Tensor:
    """``conv(x[b]) + offset + sum(factor * pair(x[b]))`` for every sample b, as one 3x3 convolution each.

    Args:
        x: (B, C, h, w).
        conv: 3x3, C to C channels.
        offset: (C,).
        terms: Per sample, pairs with their factors, each a scalar or (C,).
    """
    rows = []
    for sample, pairs in zip(x.split(1), terms):
        kernel, bias = conv.weight, conv.bias + offset
        for pair, factor in pairs:
            kernel, bias = kernel + pair.kernel(factor), bias + pair.bias(factor)
        rows.append(F.conv2d(sample, kernel, bias, padding=1))
    return torch.cat(rows)
