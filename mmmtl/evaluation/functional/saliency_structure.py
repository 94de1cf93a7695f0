"""Saliency measures that look at structure: S-measure, E-measure and weighted F-measure of one image.

Maps are stretched to [0, 1] first (:func:`~mmmtl.evaluation.functional.saliency.stretch`). Where every pixel is labelled
the numbers are those of the saliency benchmarks' programs. A pixel without a label is in no mean, sum or count.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike
from scipy.ndimage import distance_transform_edt

_EPS = float(np.spacing(1))  # as in the published programs


def s_measure(value: np.ndarray, salient: np.ndarray, known: np.ndarray, alpha: float = 0.5) -> float:
    """S-measure, α · object similarity + (1 - α) · region similarity (Fan et al., ICCV 2017).

    Args:
        value: Float (H, W) in [0, 1].
        salient: Boolean (H, W), the label.
        known: Boolean (H, W), where there is a label; at least one pixel.
        alpha: α.

    Returns:
        In [0, 1]. Without a salient pixel 1 minus the mean of the map; with nothing else its mean.
    """
    salient, total = salient & known, int(known.sum())
    share = int(salient.sum()) / total
    if share in (0.0, 1.0):
        mean = float(value[known].mean())
        return mean if share else 1.0 - mean
    inside, outside = value[salient], 1.0 - value[known & ~salient]
    of_object = share * _uniform_and_bright(inside) + (1 - share) * _uniform_and_bright(outside)
    row, column = (int(np.round(places.mean())) + 1 for places in np.nonzero(salient))
    of_region = 0.0
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            part = known[rows, columns]
            if part.any():
                found = _similarity(value[rows, columns][part], salient[rows, columns][part])
                of_region += int(part.sum()) / total * found
    return max(alpha * of_object + (1 - alpha) * of_region, 0.0)


def _uniform_and_bright(values: np.ndarray) -> float:
    """2 m / (m² + 1 + s) of mean m and standard deviation s (n - 1): large where all values are near 1."""
    mean = float(values.mean())
    spread = float(values.std(ddof=1)) if values.size > 1 else 0.0
    return 2 * mean / (mean * mean + 1 + spread + _EPS)


def _similarity(value: np.ndarray, label: np.ndarray) -> float:
    """Structural similarity of a whole region: luminance, contrast and structure, without stabilising constants."""
    label = label.astype(np.float64)
    first, second = float(value.mean()), float(label.mean())
    a, b = value - first, label - second
    divisor = max(value.size - 1, 1)
    variances, covariance = float((a * a).sum() + (b * b).sum()) / divisor, float((a * b).sum()) / divisor
    above = 4 * first * second * covariance
    below = (first**2 + second**2) * variances
    if above != 0:
        return above / (below + _EPS)
    return 1.0 if below == 0 else 0.0


def e_measure(hits: ArrayLike, positives: ArrayLike, salient: int, total: int) -> np.ndarray:
    """E-measure of binary maps, Σ ((1 + 2 f g / (f² + g²)) / 2)² / (n - 1) (Fan et al., IJCAI 2018).

    f and g are prediction and label minus their means, which have four pairs of values: counts are enough.

    Args:
        hits: Predicted pixels that are salient, one number per map.
        positives: Predicted pixels.
        salient: Salient pixels of the label.
        total: n, pixels.

    Returns:
        float64, of each map. Without a salient pixel the share that is not predicted; with nothing else the share that is.
    """
    hit, positive = np.asarray(hits, np.float64), np.asarray(positives, np.float64)
    if salient == 0:
        aligned = total - positive
    elif salient == total:
        aligned = positive
    else:
        mean_f, mean_g, aligned = positive / total, salient / total, np.zeros_like(positive)
        parts = (
            (1 - mean_f, 1 - mean_g, hit),
            (1 - mean_f, -mean_g, positive - hit),
            (-mean_f, 1 - mean_g, salient - hit),
            (-mean_f, -mean_g, total - positive - salient + hit),
        )
        for f, g, count in parts:
            aligned += count * (2 * f * g / (f * f + g * g + _EPS) + 1) ** 2 / 4
    return aligned / (total - 1 + _EPS)


def weighted_f(value: np.ndarray, salient: np.ndarray, known: np.ndarray) -> float:
    """Weighted F-measure with β = 1 (Margolin, Zelnik-Manor and Tal, CVPR 2014).

    An error within the object counts no more than the mean error around it (7 x 7 Gaussian, σ = 5; a pixel outside takes
    the error of the nearest object pixel). An error outside counts 2 - exp(ln(.5) / 5 · d) times, d pixels from the object.

    Args:
        value: Float (H, W) in [0, 1].
        salient: Boolean (H, W), the label.
        known: Boolean (H, W), where there is a label.

    Returns:
        2 P R / (P + R) in [0, 1]; 0 without a salient pixel.
    """
    salient = salient & known
    if not salient.any():
        return 0.0
    distance, nearest = distance_transform_edt(~salient, return_indices=True)
    error = np.abs(value.astype(np.float64) - salient)
    weights = cv2.getGaussianKernel(7, 5.0, cv2.CV_64F)
    spread = cv2.sepFilter2D(error[tuple(nearest)], cv2.CV_64F, weights, weights, borderType=cv2.BORDER_CONSTANT)
    within = np.minimum(error, spread)[salient]
    outside = known & ~salient
    beyond = error[outside] * (2 - np.exp(np.log(0.5) / 5 * distance[outside]))
    hit = within.size - float(within.sum())
    precision, recall = hit / (hit + float(beyond.sum()) + _EPS), 1 - float(within.mean())
    return 2 * recall * precision / (recall + precision + _EPS)
