"""TaskExpert (Ye and Xu, "TaskExpert: Dynamically Assembling Multi-Task Representations with Memorial Mixture-of-Experts",
ICCV 2023). **A reconstruction**: no code was published, and what the public texts leave open was chosen so that parameters
(420 M) and multiply-accumulates (622 G) of the ViT-L model for PASCAL-Context are met.

====================  ======================================================================
name here             in the paper
====================  ======================================================================
``experts``           expert networks of a Memorial Mixture-of-Experts module, for all tasks
``gates``             gating networks, one per task, sample by sample
memory                M_t, a task's feature memory: read as one more expert, and updated
====================  ======================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.decoder import FeedForwardDecoder
from mmmtl.models.layers.conv_block import conv_head, enlarge
from mmmtl.registry import MODELS


class MemorialExperts(nn.Module):
    """One module: experts shared by the tasks, a gate per task over experts and memory, an update of each memory.

    Args:
        names: Task names.
        in_channels: Channels of the backbone's level.
        width: E of features and memories.
        experts: Number of experts.
    """

    def __init__(self, names: Sequence[str], in_channels: int, width: int, experts: int) -> None:
        super().__init__()
        self.reduce = nn.Conv2d(in_channels, width, 1)
        self.experts = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU(), nn.Conv2d(width, width, 1)
            )
            for _ in range(experts)
        )
        self.gates = nn.ModuleDict(
            {
                n: nn.Sequential(nn.Linear(2 * width, width // 4), nn.GELU(), nn.Linear(width // 4, experts + 1))
                for n in names
            }
        )
        self.write = nn.ModuleDict(
            {n: nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.GELU()) for n in names}
        )
        for gate in self.gates.values():
            for layer in (gate[0], gate[2]):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)

    def forward(self, level: Tensor, memories: Mapping[str, Tensor] | None) -> dict[str, Tensor]:
        """Level (B, D, h, w) and memories (B, E, h, w) per task (None: empty) → updated memories."""
        x = self.reduce(level)
        known = torch.stack([expert(x) for expert in self.experts], 1)  # (B, N, E, h, w)
        summary, updated = x.mean((2, 3)), {}
        for name, gate in self.gates.items():
            memory = torch.zeros_like(x) if memories is None else memories[name]
            share = gate(torch.cat([summary, memory.mean((2, 3))], 1)).softmax(1)  # (B, N + 1)
            feature = torch.einsum('bn,bnchw->bchw', share[:, :-1], known) + share[:, -1, None, None, None] * memory
            updated[name] = memory + self.write[name](feature)
        return updated


@MODELS.register_module()
class TaskExpertDecoder(FeedForwardDecoder):
    """A Memorial Mixture-of-Experts module per level; each task is predicted from its memory after the last one.

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. Levels of one stride (a plain ViT).
        width: E.
        experts: N, experts per module.

    Raises:
        ConfigError: Levels of different strides.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        width: int = 452,
        experts: int = 8,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        if len(set(self.strides)) != 1:
            raise ConfigError(
                f'TaskExpertDecoder needs levels of one stride (a plain ViT), got strides {self.strides}: add '
                f"neck=dict(type='LevelProjection', channels=...)"
            )
        self.levels = nn.ModuleList(MemorialExperts(list(self.tasks), c, width, experts) for c in self.in_channels)
        self.heads = nn.ModuleDict({n: conv_head(width, t.out_channels) for n, t in self.tasks.items()})

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Levels → raw maps (B, C_t, 4h, 4w)."""
        memories: dict[str, Tensor] | None = None
        for module, level in zip(self.levels, feats):
            memories = module(level, memories)
        assert memories is not None
        return {n: self.heads[n](enlarge(memory, 4)) for n, memory in memories.items()}
