"""The network that all tasks of an image go through together (JTR, section 3.3)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from mmmtl.models.layers.row_norm import RowNorm
from mmmtl.models.layers.segnet import decode, encode, segnet_levels, xavier_


class StackAutoencoder(nn.Module):
    """A SegNet from the stack of all tasks' maps to the same stack; its deepest map is what stacks are compared by.

    Every row is normalised by its own statistics, as in the published program, which runs one image at a time.

    Args:
        channels: K of the stack.
        filters: Channels of the five levels.
    """

    def __init__(self, channels: int, filters: Sequence[int] = (64, 128, 256, 512, 512)) -> None:
        super().__init__()
        self.encoder, self.decoder = segnet_levels(channels, filters, RowNorm)
        self.head = nn.Sequential(nn.Conv2d(filters[0], filters[0], 3, padding=1), nn.Conv2d(filters[0], channels, 1))
        xavier_(self)

    def forward(self, stack: Tensor, reconstruct: bool = True) -> tuple[Tensor, Tensor | None]:
        """(P, K, H, W), H and W multiples of 32 → the joint space (P, F, H / 32, W / 32), and the stack again, raw."""
        joint, places = encode(self.encoder, stack.to(self.head[0].weight.dtype))
        return joint, self.head(decode(self.decoder, joint, places)) if reconstruct else None
