"""Losses for continuous labels: float32 (n, C, H, W), NaN = unknown."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.registry import MODELS

from .cross_entropy import mean_over_valid


@MODELS.register_module()
class MaskedL1(nn.Module):
    """Sum of absolute differences over channels and known pixels, divided by the number of known *pixels*.

    Args:
        normalize: Scale the prediction to unit length over channels first (surface normals).
    """

    def __init__(self, normalize: bool = False) -> None:
        super().__init__()
        self.normalize = normalize

    def forward(self, logits: Tensor, label: Tensor, per_sample: bool = False) -> Tensor:
        prediction = F.normalize(logits, dim=1) if self.normalize else logits
        known = ~torch.isnan(label).any(1, keepdim=True)
        # unknown pixels are replaced before the subtraction: NaN would reach the gradient even when masked afterwards
        difference = (torch.where(known, prediction, 0.0) - torch.where(known, label, 0.0)).abs()
        return mean_over_valid(difference.flatten(1).sum(1), known.flatten(1).sum(1), per_sample)
