"""SegNet as multi-task papers on small images use it (MTAN, MTPSL): an encoder and a decoder of 3x3 convolutions."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.model import BaseModule
from torch import Tensor

from mmmtl.errors import InputError
from mmmtl.models.layers.segnet import decode, encode, segnet_levels, xavier_
from mmmtl.registry import MODELS


@MODELS.register_module()
class SegNet(BaseModule):
    """Five levels down by max pooling and up again by unpooling at the remembered positions.

    Gives two maps: the decoder's last one, (B, ``filters[0]``, H, W), and the encoder's last one after its pooling,
    (B, ``filters[-1]``, H / 32, W / 32).

    Args:
        filters: Channels of the five levels.
    """

    size_multiple = 32
    plain_for_inference = ('WinogradConv2d',)  # a pixel rounded otherwise may win another pooling window, and be moved

    def __init__(self, filters: Sequence[int] = (64, 128, 256, 512, 512), init_cfg: dict | None = None) -> None:
        super().__init__(init_cfg)
        self.encoder, self.decoder = segnet_levels(3, filters)
        self.out_channels, self.strides = [filters[0], filters[-1]], [1, 32]
        xavier_(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, 3, H, W), H and W multiples of 32, → the two maps.

        Raises:
            InputError: For another size.
        """
        if x.shape[-1] % 32 or x.shape[-2] % 32:
            raise InputError(f'SegNet takes images whose sides are multiples of 32, got {x.shape[-2]}x{x.shape[-1]}')
        deepest, places = encode(self.encoder, x)
        return decode(self.decoder, deepest, places), deepest
