"""Surface normals: the angle between predicted and true direction."""

from __future__ import annotations

import numpy as np

CHUNK = 16384
LIMITS = (5.0, 7.5, 11.25, 22.5, 30.0)
"""Degrees below which pixels are counted."""
ANGLE_BINS = 18000
"""Bins of the histogram from which medians are read: 0.01 degree each."""


def normalised(vectors: np.ndarray, axis: int = 0) -> np.ndarray:
    """Vectors of length one in float64; the zero vector stays zero, and one that holds NaN becomes NaN."""
    vectors = np.asarray(vectors, np.float64)
    length = np.sqrt((vectors * vectors).sum(axis, keepdims=True))
    return np.divide(vectors, length, out=np.zeros_like(vectors), where=length != 0)


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


def angle_sums(pred: np.ndarray, gt: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over the valid pixels of one image.

    Args:
        pred, gt: (C, n).

    Returns:
        ``count``; ``sums`` float64 (2,): angle, its square; ``within`` int64 (5,): angles below :data:`LIMITS`;
        ``histogram`` int64 of :func:`angle_histogram`.
    """
    sums, within = np.zeros(2), np.zeros(len(LIMITS), np.int64)
    histogram = np.zeros(ANGLE_BINS, np.int64)
    for start in range(0, pred.shape[1], CHUNK):  # small enough to stay in the cache from one step to the next
        angle = angular_error(pred[:, start : start + CHUNK], gt[:, start : start + CHUNK])
        sums += (angle.sum(), (angle * angle).sum())
        within += [int(np.count_nonzero(angle < limit)) for limit in LIMITS]
        histogram += angle_histogram(angle)
    return dict(count=np.int64(pred.shape[1]), sums=sums, within=within, histogram=histogram)


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
