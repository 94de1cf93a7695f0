"""Conditions of TaskDiffusion: what every task sees in every level. They do not depend on time, so once per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.models.layers.film import FilmNorm
from mmmtl.ops.convolution import conv1x1
from mmmtl.registry import MODELS


class _ConvBlock(nn.Module):
    """conv3x3 → BN → GELU → conv1x1."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = FilmNorm(width)
        self.conv1 = nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return conv1x1(self.norm(self.conv3(x)), self.conv1.weight, self.conv1.bias)


@MODELS.register_module()
class ConvConditions(BaseModule):
    """Two blocks conv3x3-BN-GELU-conv1x1 per level and task (TaskDiffusion, section 3.2).

    Args:
        tasks: Task names.
        levels: Number of levels.
        width: Channels of the levels.
    """

    def __init__(self, tasks: Sequence[str], levels: int, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.ModuleDict({name: nn.Sequential(_ConvBlock(width), _ConvBlock(width)) for name in tasks})
            for _ in range(levels)
        )

    def forward(self, levels: Sequence[Tensor], noise: Any = None) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """Levels (B, E, h, w) → per level a condition (B, E, h, w) for every task, and extra losses (none)."""
        return [[branch(x) for branch in row.values()] for row, x in zip(self.levels, levels)], {}
