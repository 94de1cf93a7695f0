"""Residual blocks of the multi-task baselines and of DiffusionMTL's preliminary decoders."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.ops.residual_branch import residual_branch


class BasicBlock(nn.Module):
    """conv3x3-BN-ReLU-conv3x3-BN, plus the input, ReLU; (B, C, h, w) → the same shape, not negative.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)), inplace=True))), inplace=True)


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
