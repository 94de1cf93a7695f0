"""All levels on one grid, concatenated and mixed by one convolution."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.models.layers.conv_block import concat_levels
from mmmtl.ops.winograd_gradients import use_winograd_gradients
from mmmtl.registry import MODELS


@MODELS.register_module()
class ConcatFusion(BaseModule):
    """Bilinear resize of every level to one stride, concatenation, a 3x3 convolution (DiffusionMTL's fusion).

    Args:
        in_channels: Channels of the backbone's levels.
        strides: Strides of the backbone's levels.
        channels: Channels of the fused map.
        stride: Stride of the fused map; a multiple or a divisor of the first level's.
        winograd_gradients: Compute gradients by Winograd's algorithm, see :mod:`mmmtl.ops.winograd_gradients`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int,
        stride: int = 8,
        winograd_gradients: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(init_cfg)
        self.first_stride, self.stride = strides[0], stride
        self.conv = nn.Conv2d(sum(in_channels), channels, 3, padding=1)
        self.out_channels, self.strides = [channels], [stride]
        if winograd_gradients:
            use_winograd_gradients(self)

    def forward(self, feats: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Levels → one map (B, ``channels``, h, w) in a tuple."""
        size = [n * self.first_stride // self.stride for n in feats[0].shape[-2:]]
        return (self.conv(concat_levels(feats, size)),)
