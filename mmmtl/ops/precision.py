"""Precision of single computations, whatever autocast does around them."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch
from torch import Tensor


def to_float32(x: Tensor) -> Tensor:
    """The tensor in float32, or as it is where it is more precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(like: Tensor) -> AbstractContextManager:
    """Context in which tensors on ``like``'s device are computed with in their own precision."""
    return torch.autocast(like.device.type, enabled=False)
