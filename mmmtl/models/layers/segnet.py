"""SegNet's levels, and what the networks built of them share."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError

ENCODER_UNITS = (2, 2, 3, 3, 3)
"""Units of each of the five encoder levels; the decoder mirrors them."""


def xavier_(module: nn.Module) -> None:
    """Xavier-normal convolution weights and zero biases, as the published models start."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.xavier_normal_(part.weight)
            nn.init.zeros_(part.bias)


class ConvUnit(nn.Module):
    """3x3 convolution, norm, ReLU."""

    def __init__(self, cin: int, cout: int, norm: Callable[[int], nn.Module] = nn.BatchNorm2d) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(cin, cout, 3, padding=1), norm(cout)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)


def segnet_levels(
    in_channels: int, filters: Sequence[int], norm: Callable[[int], nn.Module] = nn.BatchNorm2d
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Encoder and decoder of a SegNet, five levels each, the finest first.

    Raises:
        ConfigError: ``filters`` does not name five levels.
    """
    if len(filters) != len(ENCODER_UNITS):
        raise ConfigError(f'SegNet has {len(ENCODER_UNITS)} levels, filters names {len(filters)}')
    encoder, decoder = nn.ModuleList(), nn.ModuleList()
    for level, (width, count) in enumerate(zip(filters, ENCODER_UNITS)):
        before, after = filters[level - 1] if level else in_channels, filters[level - 1] if level else filters[0]
        for levels, first, others in ((encoder, before, width), (decoder, width, after)):
            units = [ConvUnit(first if i == 0 else others, others, norm) for i in range(count)]
            levels.append(nn.Sequential(*units))
    return encoder, decoder


def encode(encoder: nn.ModuleList, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """(B, C, H, W), sides multiples of 32 → the deepest map (B, F, H / 32, W / 32), and what each pooling chose."""
    places = []
    for level in encoder:
        x, place = F.max_pool2d(level(x), 2, return_indices=True)
        places.append(place)
    return x, places


def decode(decoder: nn.ModuleList, x: Tensor, places: Sequence[Tensor]) -> Tensor:
    """The deepest map and the pooled positions → the finest map (B, ``filters[0]``, H, W)."""
    for level, place in zip(reversed(decoder), reversed(places)):
        x = level(F.max_unpool2d(x, place, 2))
    return x
