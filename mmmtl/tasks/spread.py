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


def circular_deviation(variance: Tensor) -> Tensor:
    """Circular standard deviation sqrt(-2 ln R) of directions, in degrees.

    R is the length of the mean of the unit vectors (Mardia and Jupp, Directional Statistics, section 2.3), and R² = 1 - V
    for their variance V about it, which unlike R can be told from 1 where directions hardly differ. Of a narrow bundle the
    deviation is the root mean square of the angles to the mean direction; where no direction prevails it would grow without
    end and stops at 180.

    Args:
        variance: V, (1, H, W): the mean square distance of unit vectors ((cos, sin) of angles, normals) to their mean.

    Returns:
        (1, H, W) in [0, 180].
    """
    return torch.rad2deg((-torch.log1p(-variance.clamp(0, 1))).sqrt()).clamp(0, 180)
