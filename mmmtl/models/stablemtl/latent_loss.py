"""The unified loss of latent predictions: one mean square over valid cells, whatever the task."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from mmmtl.ops.precision import to_float32


def latent_valid(valid: Tensor, factor: int) -> Tensor:
    """Valid cells of the latent grid: those all of whose pixels are valid.

    Args:
        valid: Boolean (n, 1, H, W).
        factor: Pixels per cell and side.

    Returns:
        Boolean (n, 1, floor(H / factor), floor(W / factor)).
    """
    return ~F.max_pool2d((~valid).float(), factor, factor).bool()


def masked_mse(pred: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean of (pred - target)² over the channels of all valid cells of the batch; 0 with a graph where there is none.

    Args:
        pred, target: (n, C, h, w).
        valid: Boolean (n, 1, h, w).
    """
    error = (to_float32(pred) - to_float32(target)).square().mean(1, keepdim=True)
    return (error * valid).sum() / valid.sum().clamp_min(1)
