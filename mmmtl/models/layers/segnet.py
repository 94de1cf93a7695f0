"""What SegNet and the mapping network of cross-task consistency share."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

ENCODER_UNITS = (2, 2, 3, 3, 3)
"""Units of each of the five encoder levels; the decoder mirrors them."""


def xavier_(module: nn.Module) -> None:
    """Xavier-normal convolution weights and zero biases, as the published models start."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.xavier_normal_(part.weight)
            nn.init.zeros_(part.bias)


class ConvUnit(nn.Module):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(cin, cout, 3, padding=1), nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)), inplace=True)
