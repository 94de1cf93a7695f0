"""Residual blocks of the multi-task baselines and of DiffusionMTL's preliminary decoders."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.ops.residual_branch import residual_branch


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, plus the input (through a 1x1 convolution and BN where the width changes), ReLU.

    Args:
        channels: Channels of the input.
        out_channels: Channels of the output; default: those of the input.
    """

    def __init__(self, channels: int, out_channels: int | None = None) -> None:
        super().__init__()
        width = out_channels or channels
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = None
        if width != channels:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, width, 1, bias=False), nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, channels, h, w) → (B, out_channels, h, w), not negative."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True)))
        return F.relu((x if self.shortcut is None else self.shortcut(x)) + y, inplace=True)


class ResidualBranch(nn.Sequential):
    """Residual blocks in a row, (B, C, h, w) → the same shape.

    In training they keep two maps per block instead of four, see :mod:`mmmtl.ops.residual_branch`.

    Args:
        channels: C.
        count: Number of blocks.
    """

    def __init__(self, channels: int, count: int) -> None:
        super().__init__(*(BasicBlock(channels) for _ in range(count)))

    def forward(self, x: Tensor) -> Tensor:
        return residual_branch(self, x)
