"""Surface normals: the angle between predicted and true direction."""

from __future__ import annotations

import numpy as np

__all__ = ['ANGLE_BINS', 'angle_histogram', 'angular_error', 'histogram_quantile', 'normalised']

ANGLE_BINS = 18000
"""Bins of the histogram from which medians are read: 0.01 degree each."""


def normalised(vectors: np.ndarray, axis: int = 0) -> np.ndarray:
    """Vectors of length one in float64; the zero vector stays zero."""
    vectors = np.asarray(vectors, np.float64)
    length = np.sqrt((vectors * vectors).sum(axis, keepdims=True))
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)


def angular_error(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Degrees between vectors, 2 atan2(|p - g|, |p + g|) after normalising both, which is exact at 0 and 180
    too.

    Args:
        pred, gt: (C, n) or (C, H, W), any length; against a zero vector the angle is 90.

    Returns:
        float64 (n,) or (H, W), in [0, 180].
    """
    pred, gt = normalised(pred), normalised(gt)
    apart = np.sqrt(((pred - gt) ** 2).sum(0))
    together = np.sqrt(((pred + gt) ** 2).sum(0))
    return np.degrees(2.0 * np.arctan2(apart, together))


def angle_histogram(degrees: np.ndarray) -> np.ndarray:
    """int64 (:data:`ANGLE_BINS`,) counts of angles in bins of 0.01 degree; NaN is not counted."""
    known = degrees[~np.isnan(degrees)]
    index = np.minimum((known * (ANGLE_BINS / 180.0)).astype(np.int64), ANGLE_BINS - 1)
    return np.bincount(index.ravel(), minlength=ANGLE_BINS)


def histogram_quantile(counts: np.ndarray, share: float, width: float) -> float:
    """The value below which ``share`` of the counted numbers lie, to less than one ``width`` of a bin."""
    total = int(counts.sum())
    if total == 0:
        return float('nan')
    below = np.cumsum(counts)
    index = int(np.searchsorted(below, share * total))
    before = int(below[index]) - int(counts[index])
    return width * (index + (share * total - before) / int(counts[index]))
