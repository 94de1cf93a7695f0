"""Convolution blocks that several decoders share."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_relu(
    in_channels: int, out_channels: int, kernel: int = 3, dilation: int = 1, bias: bool = False
) -> nn.Sequential:
    """Convolution of the same grid, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=bias),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )


def enlarge(x: Tensor, scale: int) -> Tensor:
    """(B, C, h, w) → (B, C, scale·h, scale·w), bilinear."""
    return F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)


def on_grid(x: Tensor, size: Sequence[int]) -> Tensor:
    """(B, C, h, w) → (B, C, H, W) with (H, W) = ``size``, bilinear; as it is where it has that size."""
    same = tuple(x.shape[-2:]) == tuple(size)
    return x if same else F.interpolate(x, tuple(size), mode='bilinear', align_corners=False)


def concat_levels(feats: Sequence[Tensor], size: Sequence[int]) -> Tensor:
    """Levels (B, C_l, h_l, w_l), enlarged or reduced to ``size``, one behind the other: (B, ΣC_l, h, w)."""
    return torch.cat([on_grid(f, size) for f in feats], 1)


def conv_head(width: int, out_channels: int) -> nn.Sequential:
    """Prediction head of TaskPrompter and MLoRE: 3x3 convolution, BN, GELU, 1x1 convolution."""
    head = nn.Sequential(
        nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU(), nn.Conv2d(width, out_channels, 1)
    )
    nn.init.trunc_normal_(head[0].weight, std=0.02)
    return head
