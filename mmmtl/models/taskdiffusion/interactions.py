"""What may stand in for the task interaction by relation maps: the alternatives of Table 4, and that of a single task.

All of them take the map of [X^l, z_t] that the tasks share, and the tasks' conditions of the same level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mmmtl.models.layers.film import ConvBlock
from mmmtl.ops.attention import CrossAttention
from mmmtl.ops.convolution import Conv1x1
from mmmtl.ops.mixing import Maps


class SharedInteraction(nn.Module):
    """``F_i^s`` plus two convolutional blocks of [X^l, z_t]: no relation map, as a single task has none (A.6).

    The paper does not say how the noisy map reaches a single task without it; adding it is the plainest way.
    """

    def __init__(self, tasks: Sequence[str], width: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConvBlock(width, width) for _ in range(2))

    def cross_task_features(self, entry: Tensor, time: Tensor) -> Tensor:
        """(B, E, h, w) → the same shape."""
        for block in self.blocks:
            entry = block(entry, time)
        return entry

    def forward(self, entry: Tensor, conditions: Maps, time: Tensor) -> Maps:
        """Shared map (B, E, h, w) and a condition per task (B, E, h, w) → a map per task (B, E, h, w)."""
        cross = self.cross_task_features(entry, time)
        return [x + cross for x in conditions]


class ConcatInteraction(SharedInteraction):
    """Concatenation with the cross-task features, then a 1x1 convolution per task (Table 4)."""

    def __init__(self, tasks: Sequence[str], width: int) -> None:
        super().__init__(tasks, width)
        self.joint = nn.ModuleDict({n: Conv1x1(2 * width, width) for n in tasks})

    def forward(self, entry: Tensor, conditions: Maps, time: Tensor) -> Maps:
        cross = self.cross_task_features(entry, time)
        return [joint(torch.cat([x, cross], 1)) for joint, x in zip(self.joint.values(), conditions)]


class CrossAttentionInteraction(SharedInteraction):
    """Attention from the cross-task features (queries) to each condition (keys and values), added to it (Table 4)."""

    def __init__(self, tasks: Sequence[str], width: int) -> None:
        super().__init__(tasks, width)
        self.attention = CrossAttention(width, heads=next(n for n in (8, 4, 2, 1) if width % n == 0))

    def forward(self, entry: Tensor, conditions: Maps, time: Tensor) -> Maps:
        cross = self.cross_task_features(entry, time)
        query = cross.flatten(2).transpose(1, 2)  # (B, h·w, E)
        attended = [self.attention(query, x.flatten(2).transpose(1, 2)) for x in conditions]
        return [x + a.transpose(1, 2).reshape(cross.shape) for x, a in zip(conditions, attended)]
