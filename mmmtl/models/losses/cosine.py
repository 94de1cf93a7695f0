"""Angle between vectors as a loss."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.registry import MODELS

from .cross_entropy import mean_over_valid
from .shapes import expect_numbers


@MODELS.register_module()
class CosineDistance(nn.Module):
    """1 minus the mean cosine between predicted and true unit vectors over the known pixels (MTPSL's loss for
    normals).

    The prediction is scaled to unit length, the label is taken as it is. Without a known pixel the loss is 0.
    """

    def forward(self, logits: Tensor, label: Tensor, per_sample: bool = False) -> Tensor:
        """(n, C, H, W) twice → scalar, or (n,)."""
        expect_numbers(self, logits, label, 2)
        known = ~torch.isnan(label).any(1, keepdim=True)
        cosine = (F.normalize(logits, dim=1) * torch.where(known, label, 0.0)).flatten(1).sum(1)
        count = known.flatten(1).sum(1)
        some = (count if per_sample else count.sum()).clamp_max(1)
        return some - mean_over_valid(cosine, count, per_sample)
