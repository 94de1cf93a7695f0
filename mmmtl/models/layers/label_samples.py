"""Labels and predicted classes as maps of numbers that a network can be fed with."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.tasks import IGNORE


def sample_classes(logits: Tensor, uniform: Tensor) -> Tensor:
    """A sample of the predicted distribution, one-hot, with the gradient of its Gumbel-softmax (temperature 1).

    Args:
        logits: (n, C, H, W).
        uniform: Draws in [0, 1) of the same shape.

    Returns:
        (n, C, H, W).
    """
    # the complement keeps the precision where the exponential is small and the Gumbel draw large
    exponential = -torch.log1p(-uniform.clamp_min(2.0**-25))
    soft = (logits.log_softmax(1) - exponential.log()).softmax(1)
    hard = torch.zeros_like(soft).scatter_(1, soft.argmax(1, keepdim=True), 1.0)
    return hard - soft.detach() + soft


def one_hot(label: Tensor, channels: int) -> Tensor:
    """Class map int64 (n, H, W) → (n, ``channels``, H, W), all zero where unknown; one channel: where the class is 1."""
    known = label != IGNORE
    classes = torch.where(known, label, 0)
    if channels == 1:
        return (classes == 1)[:, None].float()
    return F.one_hot(classes, channels).permute(0, 3, 1, 2).float() * known[:, None]
