"""Conditions F_i^s of TaskDiffusion: what every task sees in every level, whatever the time; once per image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.models.layers.film import ConvBlock
from mmmtl.registry import MODELS


@MODELS.register_module()
class ConvConditions(BaseModule):
    """Task-specific branches of two convolutional blocks per level and task (TaskDiffusion, section 3.2).

    Args:
        tasks: Task names.
        levels: Number of levels.
        width: Channels of the levels.
    """

    def __init__(self, tasks: Sequence[str], levels: int, width: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(
            nn.ModuleDict({name: nn.Sequential(ConvBlock(width), ConvBlock(width)) for name in tasks})
            for _ in range(levels)
        )

    def forward(self, levels: Sequence[Tensor], noise: Any = None) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """X^l (B, E, h, w) → per level F_i^s (B, E, h, w) of every task, and extra losses (none)."""
        return [[branch(x) for branch in row.values()] for row, x in zip(self.levels, levels)], {}


@MODELS.register_module()
class NoConditions(BaseModule):
    """No task-specific branches: for denoisers that work on the backbone's levels themselves (Table 3).

    Args:
        tasks, levels, width: As for :class:`ConvConditions`.
    """

    def __init__(self, tasks: Sequence[str], levels: int, width: int) -> None:
        super().__init__()

    def forward(self, levels: Sequence[Tensor], noise: Any = None) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """X^l → no conditions, no losses."""
        return [], {}
