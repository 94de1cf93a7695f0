"""Where TaskDiffusion's maps become large: the task-specific prediction branches and the auxiliary heads."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.models.layers.conv_block import enlarge
from mmmtl.models.layers.film import ConvBlock, FilmNorm
from mmmtl.ops.convolution import Conv1x1, TapMajorConv2d, conv3x3
from mmmtl.ops.enlarged import residual_head
from mmmtl.ops.mixing import weighted_sum
from mmmtl.ops.recompute import recomputed


class PredictionBranch(nn.Module):
    """Three residual convolutional blocks and a 3x3 prediction head; the map is enlarged before the last block.

    Args:
        width: Channels E.
        out_channels: Channels C of the raw map.
        enlarges: The last block sees an enlarged map in training and in the last sampling step.
        recompute: Compute the enlarged maps again in the backward pass instead of keeping them.
    """

    def __init__(self, width: int, out_channels: int, enlarges: bool, recompute: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            [ConvBlock(width, width), ConvBlock(width, width)]
            + [ConvBlock(width, width, TapMajorConv2d if enlarges else conv3x3)]
        )
        self.head = conv3x3(width, out_channels)
        self.recompute = recompute

    def forward(self, x: Tensor, time: Tensor, scale: int = 1) -> Tensor:
        """F'_s (B, E, h, w) and time embedding (1 or B, E) → k_s (B, C, scale·h, scale·w)."""
        *first, _ = self.blocks
        for block in first:
            x = x + block(x, time)  # (B, E, h, w)
        if self.recompute and self.training and scale > 1:
            return recomputed(self, x, time, scale, function=self.predict)
        return self.predict(x, time, scale)

    def predict(self, x: Tensor, time: Tensor, scale: int) -> Tensor:
        """The last block and the head."""
        last = self.blocks[-1]
        return residual_head(
            x, x, last.conv3, lambda y: last.norm(y, time), last.conv1, self.head, scale, not self.training
        )


class AuxHead(BaseModule):
    """Auxiliary head of the plain variant, on the conditions of all levels: conv3x3-BN-GELU-conv1x1 with a 1x1 skip, then
    a 3x3 head; training only.

    Args:
        levels: Number of levels.
        width: Channels of a level.
        out_channels: Channels of the raw map.
    """

    def __init__(self, levels: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.conv3 = TapMajorConv2d(levels * width, width)
        self.norm = FilmNorm(width)
        self.conv1 = Conv1x1(width, width)
        self.skip = Conv1x1(levels * width, width)
        self.head = conv3x3(width, out_channels)

    def forward(self, maps: Sequence[Tensor], scale: int) -> Tensor:
        """Conditions of one task, per level (B, E, h, w) → raw map (B, C, scale·h, scale·w)."""
        x = torch.cat(list(maps), 1)  # (B, L·E, h, w)
        return residual_head(x, self.skip(x), self.conv3, self.norm, self.conv1, self.head, scale)


class LevelMaskAuxHead(BaseModule):
    """Auxiliary head of the MLoRE variant: a softmax mask weighs the enlarged levels, then a 3x3 head; training only.

    Args:
        levels: Number of levels.
        width: Channels of a level.
        out_channels: Channels of the raw map.
    """

    def __init__(self, levels: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = Conv1x1(levels * width, width)
        self.norm = FilmNorm(width)
        self.conv3 = conv3x3(width, levels)
        self.head = conv3x3(width, out_channels)

    def forward(self, maps: Sequence[Tensor], scale: int) -> Tensor:
        """As :meth:`AuxHead.forward`."""
        # a 1x1 convolution and the enlargement may change places
        mask = self.norm(enlarge(self.conv1(torch.cat(list(maps), 1)), scale))  # (B, E, scale·h, scale·w)
        mask = self.conv3(mask).softmax(1)  # (B, L, scale·h, scale·w)
        return self.head(weighted_sum([enlarge(x, scale) for x in maps], mask))
