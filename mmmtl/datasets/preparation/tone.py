"""From linear radiance to a picture: the tone curve of Hypersim and of the multi-illumination images."""

from __future__ import annotations

import numpy as np

from mmmtl.datasets.io.derived import luminance

GAMMA = 1 / 2.2


def tone_scale(rgb: np.ndarray, known: np.ndarray | None = None) -> float:
    """The factor that brings the 90th percentile of the luminance to 0.8 after the gamma curve; 0 for a black image.

    Args:
        rgb: Linear RGB (H, W, 3).
        known: Boolean (H, W): pixels that count; 1 is returned where there is none.
    """
    bright = luminance(rgb) if known is None else luminance(rgb)[known]
    if not bright.size:
        return 1.0
    level = float(np.percentile(bright, 90))
    return 0.8 ** (1 / GAMMA) / level if level >= 1e-4 else 0.0


def tone_map(rgb: np.ndarray, scale: float) -> np.ndarray:
    """``(scale * rgb) ** (1 / 2.2)`` in [0, 1]."""
    return (np.maximum(rgb * scale, 0) ** GAMMA).clip(0, 1)


def to_bytes(values: np.ndarray) -> np.ndarray:
    """[0, 1] → uint8, rounded down; what is no number becomes 0."""
    return (np.nan_to_num(values, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1) * 255).astype(np.uint8)
