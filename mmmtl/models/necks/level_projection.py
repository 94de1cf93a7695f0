"""One 1x1 convolution per level, to a common width and a common grid."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.layers.conv_block import on_grid
from mmmtl.ops.convolution import conv1x1
from mmmtl.registry import MODELS


@MODELS.register_module()
class LevelProjection(BaseModule):
    """Every level to ``channels`` (TaskDiffusion's per-level fusion of a plain ViT), and to one grid if they differ.

    Args:
        in_channels: Channels of the backbone's levels.
        strides: Strides of the backbone's levels.
        channels: Channels of every level afterwards.
        stride: Grid the levels are brought to, bilinearly, one for all or one for each (a pyramid out of a plain ViT);
            default: 16 if a level has it, else that of the level nearest to it.

    Raises:
        ConfigError: Another number of strides than levels.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int,
        stride: int | Sequence[int] | None = None,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        stride = stride or min(strides, key=lambda s: abs(s - 16))
        self.strides = [stride] * len(in_channels) if isinstance(stride, int) else list(stride)
        if len(self.strides) != len(in_channels):
            raise ConfigError(
                f'LevelProjection: stride={stride} names {len(self.strides)} strides of {len(in_channels)} levels'
            )
        self.projections = nn.ModuleList(nn.Conv2d(c, channels, 1) for c in in_channels)
        self.reference = min(range(len(strides)), key=lambda i: abs(strides[i] - self.strides[i]))
        self.reference_stride = strides[self.reference]
        self.out_channels = [channels] * len(in_channels)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels (B, C_l, h_l, w_l) → levels (B, ``channels``, h, w)."""
        grid = feats[self.reference].shape[-2:]
        maps = []
        for x, projection, stride in zip(feats, self.projections, self.strides):
            size = [n * self.reference_stride // stride for n in grid]
            maps.append(on_grid(conv1x1(x, projection.weight, projection.bias), size))
        return tuple(maps)
