"""SegNet as multi-task papers on small images use it (MTAN, MTPSL): an encoder and a decoder of 3x3 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.models.layers.segnet import ENCODER_UNITS, ConvUnit, xavier_
from mmmtl.registry import MODELS


@MODELS.register_module()
class SegNet(BaseModule):
    """Five levels down by max pooling and up again by unpooling at the remembered positions.

    Gives two maps: the decoder's last one, (B, ``filters[0]``, H, W), and the encoder's last one after its pooling,
    (B, ``filters[-1]``, H / 32, W / 32).

    Args:
        filters: Channels of the five levels.
    """

    plain_for_inference = ('WinogradConv2d',)  # a pixel rounded otherwise may win another pooling window, and be moved

    def __init__(self, filters: Sequence[int] = (64, 128, 256, 512, 512), init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        if len(filters) != len(ENCODER_UNITS):
            raise ValueError(f'SegNet has {len(ENCODER_UNITS)} levels, filters names {len(filters)}')
        self.out_channels, self.strides = [filters[0], filters[-1]], [1, 32]
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        for level, (width, count) in enumerate(zip(filters, ENCODER_UNITS)):
            before = filters[level - 1] if level else 3
            self.encoder.append(
                nn.Sequential(ConvUnit(before, width), *(ConvUnit(width, width) for _ in range(count - 1)))
            )
            after = filters[level - 1] if level else filters[0]
            self.decoder.append(
                nn.Sequential(ConvUnit(width, after), *(ConvUnit(after, after) for _ in range(count - 1)))
            )
        xavier_(self)

    size_multiple = 32

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W), H and W multiples of 32, → the two maps.

        Raises:
            ValueError: For another size.
        """
        if x.shape[-1] % 32 or x.shape[-2] % 32:
            raise ValueError(f'SegNet takes images whose sides are multiples of 32, got {x.shape[-2]}x{x.shape[-1]}')
        places = []
        for level in self.encoder:
            x, place = F.max_pool2d(level(x), 2, return_indices=True)
            places.append(place)
        deepest = x
        for level, place in zip(reversed(self.decoder), reversed(places)):
            x = level(F.max_unpool2d(x, place, 2))
        return x, deepest
