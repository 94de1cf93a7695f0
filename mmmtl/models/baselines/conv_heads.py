"""Two convolutions per task on a full map: the heads of SegNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from mmmtl.models.decoder import FeedForwardDecoder
from mmmtl.models.layers.segnet import xavier_
from mmmtl.registry import MODELS


@MODELS.register_module()
class ConvHeads(FeedForwardDecoder):
    """Per task a 3x3 and a 1x1 convolution, nothing between, on one level (MTAN's and MTPSL's SegNet heads).

    Args:
        level: The level the heads work on.
        loss_reduction: See :class:`~mmmtl.models.decoder.Decoder`.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        level: int = 0,
        loss_reduction: str = 'batch',
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg, loss_reduction=loss_reduction)
        self.level, width = level, self.in_channels[level]
        self.heads = nn.ModuleDict(
            {
                name: nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, task.out_channels, 1))
                for name, task in self.tasks.items()
            }
        )
        xavier_(self.heads)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        return {name: head(feats[self.level]) for name, head in self.heads.items()}
