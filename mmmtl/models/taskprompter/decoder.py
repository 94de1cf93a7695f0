"""TaskPrompter (Ye and Xu, "TaskPrompter: Spatial-Channel Multi-Task Prompting for Dense Scene Understanding", ICLR 2023)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.decoder import FeedForwardDecoder
from mmmtl.models.layers.conv_block import conv_head, enlarge
from mmmtl.registry import MODELS


@MODELS.register_module()
class TaskPrompterDecoder(FeedForwardDecoder):
    """Reads every level's map once per task, weighed by what the task's prompt attended to (section 3.3).

    Args:
        tasks, in_channels, strides: Of :class:`PromptedViT`: maps, spatial, channel and task scores of each level.
        channels: T, width of the maps weighed in space and in channels.
        width: E, width of a task's features.
        cross_task_reweighting: Mix the tasks' features by the prompts' affinities (CTR).

    Raises:
        ConfigError: Another backbone, or one with other tasks.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 300,
        width: int = 350,
        cross_task_reweighting: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        names, self.levels = list(self.tasks), len(self.in_channels) // 4
        depth = self.in_channels[0]
        if len(self.in_channels) % 4 or self.in_channels[2 * self.levels] != depth * len(names):
            raise ConfigError(
                f'TaskPrompterDecoder needs backbone=dict(type="PromptedViT", tasks=...) with its own {len(names)} tasks, '
                f'got levels of {self.in_channels} channels'
            )
        self.attention_heads = self.in_channels[self.levels] // len(names)
        each = range(self.levels)
        self.spatial = nn.ModuleList(nn.ModuleDict({n: nn.Conv2d(depth, channels, 1) for n in names}) for _ in each)
        self.channel = nn.ModuleList(nn.ModuleDict({n: nn.Conv2d(depth, channels, 1) for n in names}) for _ in each)
        self.fuse = nn.ModuleList(nn.ModuleDict({n: self._fusion(2 * channels, width) for n in names}) for _ in each)
        self.reweight = None
        if cross_task_reweighting:
            self.reweight = nn.ModuleList(nn.ModuleDict({n: self._reweighting() for n in names}) for _ in each)
        self.heads = nn.ModuleDict({n: conv_head(width, t.out_channels) for n, t in self.tasks.items()})

    @staticmethod
    def _fusion(in_channels: int, width: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(in_channels, width, 1),
            nn.Conv2d(width, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.GELU(),
            nn.Conv2d(width, width, 1),
        )

    def _reweighting(self) -> nn.Sequential:
        heads = self.attention_heads
        return nn.Sequential(nn.Conv2d(heads, heads, 1), nn.GELU(), nn.Conv2d(heads, 1, 1))

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Maps and scores of the backbone → raw maps (B, C, 4h, 4w)."""
        per_kind = [feats[i * self.levels : (i + 1) * self.levels] for i in range(4)]
        totals: dict[str, Tensor] = {}
        for i, level in enumerate(zip(*per_kind)):
            for name, x in self.level_features(i, *level).items():
                totals[name] = totals[name] + x if i else x
        return {name: self.heads[name](enlarge(x, 4)) for name, x in totals.items()}

    def level_features(self, i: int, x: Tensor, spatial: Tensor, channel: Tensor, task: Tensor) -> dict[str, Tensor]:
        """One level's map and scores → features per task (B, E, h, w)."""
        batch, depth, height, width = x.shape
        heads, count = self.attention_heads, len(self.tasks)
        in_space = spatial.unflatten(1, (heads, count))  # (B, A, S, h, w)
        windows = channel.shape[-1]
        in_channels = channel.reshape(batch, depth, count, windows, 1, windows, 1)
        between = task.reshape(batch, heads, count, count)
        grouped = x.unflatten(1, (heads, -1))  # channels of one head share its spatial scores
        windowed = x.reshape(batch, depth, windows, height // windows, windows, width // windows)
        features = {}
        for s, name in enumerate(self.tasks):
            weighed = (in_space[:, :, s, None] * grouped).flatten(1, 2) + x
            scaled = (in_channels[:, :, s] * windowed).reshape(x.shape) + x
            both = torch.cat([self.spatial[i][name](weighed), self.channel[i][name](scaled)], 1)
            features[name] = self.fuse[i][name](both)
        if self.reweight is None:
            return features
        stacked = torch.stack(list(features.values()), 1)  # (B, S, E, h, w)
        shares = [mix(between[:, :, s : s + 1]) for s, mix in enumerate(self.reweight[i].values())]  # (B, 1, 1, S)
        return {n: (share.reshape(batch, count, 1, 1, 1) * stacked).sum(1) for n, share in zip(features, shares)}
