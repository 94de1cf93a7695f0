"""KITTI."""

from __future__ import annotations

import numpy as np


def benchmark_crop(array: np.ndarray, height: int = 352, width: int = 1216) -> np.ndarray:
    """The bottom ``height`` rows and middle ``width`` columns of (..., H, W) maps."""
    top, left = array.shape[-2] - height, int((array.shape[-1] - width) / 2)
    return array[..., top : top + height, left : left + width]
