"""One 1x1 convolution per level, to a common width and a common grid."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.ops.convolution import conv1x1
from mmmtl.registry import MODELS


@MODELS.register_module()
class LevelProjection(BaseModule):
    """Every level to ``channels`` (TaskDiffusion's per-level fusion of a plain ViT), and to one grid if they differ.

    Args:
        in_channels: Channels of the backbone's levels.
        strides: Strides of the backbone's levels.
        channels: Channels of every level afterwards.
        stride: Grid all levels are brought to, bilinearly; default: 16 if a level has it, else that of the level
            nearest to it.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int,
        stride: int | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.stride = stride or min(strides, key=lambda s: abs(s - 16))
        self.projections = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.reference = min(range(len(strides)), key=lambda i: abs(strides[i] - self.stride))
        self.reference_stride = strides[self.reference]
        self.out_channels = [channels] * len(in_channels)
        self.strides = [self.stride] * len(in_channels)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels (B, C_l, h_l, w_l) → levels (B, ``channels``, h, w)."""
        size = [n * self.reference_stride // self.stride for n in feats[self.reference].shape[-2:]]
        maps = (conv1x1(x, projection.weight, projection.bias) for projection, x in zip(self.projections, feats))
        return tuple(
            m if list(m.shape[-2:]) == size else F.interpolate(m, size, mode='bilinear', align_corners=False)
            for m in maps
        )
