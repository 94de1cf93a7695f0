"""Losses for continuous labels: float32 (n, C, H, W), NaN = unknown."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.registry import MODELS

from .cross_entropy import mean_over_valid
from .shapes import expect_numbers


@MODELS.register_module()
class MaskedL1(nn.Module):
    """Sum of absolute differences over channels and known pixels, divided by the number of known pixels.

    Args:
        normalize: Scale the prediction to unit length over channels first (surface normals).
        average: Divide by the number of known ``pixels`` or of their ``elements`` (MTI-Net).
    """

    def __init__(self, normalize: bool = False, average: str = 'pixels') -> None:
        super().__init__()
        if average not in ('pixels', 'elements'):
            raise ConfigError(f"MaskedL1: average must be 'pixels' or 'elements', got '{average}'")
        self.normalize, self.average = normalize, average

    def distance(self, difference: Tensor) -> Tensor:
        """What is summed, of the difference in each channel and pixel."""
        return difference.abs()

    def forward(self, logits: Tensor, label: Tensor, per_sample: bool = False) -> Tensor:
        expect_numbers(self, logits, label)
        prediction = F.normalize(logits, dim=1) if self.normalize else logits
        known = ~torch.isnan(label).any(1, keepdim=True)
        # unknown pixels are replaced before the subtraction: NaN would reach the gradient even when masked afterwards
        difference = self.distance(torch.where(known, prediction, 0.0) - torch.where(known, label, 0.0))
        total = difference.flatten(1).sum(1)
        if self.average == 'elements':
            total = total / label.shape[1]
        return mean_over_valid(total, known.flatten(1).sum(1), per_sample)


@MODELS.register_module()
class MaskedL2(MaskedL1):
    """As :class:`MaskedL1`, with squared differences (the l2 loss for depth of TaskDiffusion's equation 3)."""

    def distance(self, difference: Tensor) -> Tensor:
        return difference.square()
