"""MLoRE (Yang et al., "Multi-Task Dense Prediction via Mixture of Low-Rank Experts", CVPR 2024).

The blocks of experts are :mod:`mmmtl.models.layers.mlore`, which TaskDiffusion uses, too; this decoder fuses what they give
of each level and predicts from it (section 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.decoder import Decoder, Targets
from mmmtl.models.layers.conv_block import conv_head, enlarge
from mmmtl.registry import MODELS


@MODELS.register_module()
class MLoREDecoder(Decoder):
    """Experts per level, levels weighed by a softmax mask per task, a head per task.

    Noise names: those of ``conditions``.

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. All levels of one width E and one stride.
        conditions: Config of what gives every level's features for every task, ``MLoREConditions``.

    Raises:
        ConfigError: Levels of different width or stride.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        conditions: Mapping[str, Any],
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        if len(set(self.in_channels)) != 1 or len(set(self.strides)) != 1:
            raise ConfigError(
                f'MLoREDecoder needs levels of one width and stride, got channels {self.in_channels} at strides '
                f"{self.strides}: add neck=dict(type='LevelProjection', channels=...)"
            )
        width, levels = self.in_channels[0], len(self.in_channels)
        self.conditions = MODELS.build({'tasks': list(self.tasks), 'levels': levels, 'width': width, **conditions})
        self.fixed_size = tuple(n * self.strides[0] for n in self.conditions.grid)
        self.level_mask = nn.ModuleDict(
            {
                n: nn.Sequential(
                    nn.Conv2d(levels * width, width, 1),
                    nn.BatchNorm2d(width),
                    nn.GELU(),
                    nn.Conv2d(width, levels, 3, padding=1),
                )
                for n in self.tasks
            }
        )
        self.heads = nn.ModuleDict({n: conv_head(width, t.out_channels) for n, t in self.tasks.items()})
        for head in self.heads.values():
            nn.init.normal_(head[-1].bias, std=0.02)

    def forward(self, feats: Sequence[Tensor], noise: Any = None) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Levels (B, E, h, w) → raw maps (B, C_t, 4h, 4w), and in training the experts' own loss."""
        conditions, losses = self.conditions(feats, noise)
        raw = {}
        for s, (name, head) in enumerate(self.heads.items()):
            levels = [level[s] for level in conditions]
            mask = self.level_mask[name](torch.cat(levels, 1)).softmax(1)  # (B, levels, h, w)
            fused = (torch.stack(levels, 1) * mask[:, :, None]).sum(1)
            raw[name] = head(enlarge(fused, 4))
        return raw, losses

    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self.loss_and_maps(feats, targets, noise, size)[0]

    def loss_and_maps(
        self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int], batch: int | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        raw, losses = self(feats, noise)
        return {**self.task_losses(raw, targets, size, batch=batch), **losses}, raw

    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self(feats, noise)[0]
