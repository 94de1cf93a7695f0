"""How far predictions of one image differ from one another, pixel by pixel: pure functions on tensors."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def entropy_share(probabilities: Tensor) -> Tensor:
    """Entropy of class probabilities as a share of the largest there is: 0 where one class is certain, 1 where all are alike.

    Args:
        probabilities: (K, H, W) that sum to one, or (1, H, W), the probability of the second of two classes.

    Returns:
        (1, H, W) in [0, 1].
    """
    if len(probabilities) == 1:
        probabilities = torch.cat([1 - probabilities, probabilities])
    return (torch.special.entr(probabilities).sum(0, keepdim=True) / math.log(len(probabilities))).clamp(0, 1)


def circular_deviation(mean: Tensor) -> Tensor:
    """Circular standard deviation sqrt(-2 ln R) of directions, in degrees.

    R is the length of the mean of the unit vectors (Mardia and Jupp, Directional Statistics, section 2.3). Of a narrow
    bundle it is the root mean square of the angles to the mean direction; where no direction prevails it would grow without
    end and stops at 180.

    Args:
        mean: (C, H, W), the mean of unit vectors: (cos, sin) of angles, normals.

    Returns:
        (1, H, W) in [0, 180].
    """
    length = mean.norm(dim=0, keepdim=True).clamp(1e-12, 1.0)
    return torch.rad2deg((-2 * length.log()).clamp_min(0).sqrt()).clamp_max(180.0)
