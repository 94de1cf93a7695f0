"""Saliency: F-measure over thresholds, pooled over a dataset or by the convention of the saliency toolkits."""

from __future__ import annotations

import numpy as np

__all__ = [
    'BETA_SQUARED', 'THRESHOLDS', 'adaptive_f', 'f_measure', 'max_f', 'mean_absolute_error', 'stretch',
    'threshold_counts', 'toolkit_f_curve',
]  # fmt: skip

BETA_SQUARED = 0.3
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""0.05, 0.10, .. 0.95 (InvPT, TaskPrompter, DiffusionMTL, TaskDiffusion)."""


def threshold_counts(probability: np.ndarray, gt: np.ndarray, thresholds: tuple[float, ...] = THRESHOLDS,
                     double_sigmoid: bool = False) -> np.ndarray:  # fmt: skip
    """Pixels counted by label and decision, for all thresholds in one pass.

    A pixel is positive where ``probability >= threshold``, compared in float32; NaN is never positive.

    Args:
        probability: Float map in [0, 1].
        gt: Integer map of the same number of pixels: 1 salient, 0 not, 255 invalid.
        thresholds: Ascending.
        double_sigmoid: Apply a sigmoid to the probability first, as the meters of DiffusionMTL, InvPT and
            TaskPrompter do.

    Returns:
        int64 (3, thresholds): true positives, false positives, false negatives.
    """
    value = np.ascontiguousarray(probability, np.float32).ravel()
    label = np.ascontiguousarray(gt).ravel()
    if value.size != label.size:
        raise ValueError(f'prediction has shape {probability.shape}, label {gt.shape}')
    if double_sigmoid:
        value = np.float32(1) / (np.float32(1) + np.exp(-value))
    levels = np.asarray(thresholds, np.float32)
    passed = np.searchsorted(levels, value, side='right')  # how many thresholds the pixel reaches
    if np.isnan(value).any():
        passed[np.isnan(value)] = 0
    width = len(levels) + 1
    kind = np.full(256, 2, np.int64)
    kind[:2] = 0, 1
    counts = np.bincount(passed + width * kind[label.astype(np.uint8)], minlength=3 * width).reshape(3, width)
    reached = np.cumsum(counts[:, ::-1], axis=1)[:, ::-1][:, 1:]
    false_positive, true_positive = reached[0], reached[1]
    return np.stack([true_positive, false_positive, counts[1].sum() - true_positive])


def f_measure(precision: np.ndarray, recall: np.ndarray, beta_squared: float = BETA_SQUARED) -> np.ndarray:
    """Weighted harmonic mean (1 + b²) P R / (b² P + R); 0 where it is undefined."""
    precision, recall = np.asarray(precision, np.float64), np.asarray(recall, np.float64)
    below = beta_squared * precision + recall
    return np.divide(
        (1 + beta_squared) * precision * recall, below, out=np.zeros_like(below), where=below > 0
    )


def max_f(counts: np.ndarray, beta_squared: float = BETA_SQUARED) -> float:
    """Largest F-measure over thresholds, from counts summed over the dataset.

    Args:
        counts: (3, thresholds): true positives, false positives, false negatives.
    """
    hit, wrong, missed = np.asarray(counts, np.float64)
    precision = np.divide(hit, hit + wrong, out=np.zeros_like(hit), where=hit + wrong > 0)
    recall = np.divide(hit, hit + missed, out=np.zeros_like(hit), where=hit + missed > 0)
    return float(f_measure(precision, recall, beta_squared).max())


def stretch(probability: np.ndarray) -> np.ndarray:
    """One image's map scaled to [0, 1] by its own minimum and maximum; a constant map stays as it is."""
    value = np.asarray(probability, np.float64)
    low, high = value.min(), value.max()
    return (value - low) / (high - low) if high > low else value


def toolkit_f_curve(value: np.ndarray, salient: np.ndarray, beta_squared: float = BETA_SQUARED) -> np.ndarray:
    """F-measure of one image at the 256 integer thresholds 255, 254, .. 0 of its 8-bit map.

    Args:
        value: Map in [0, 1], already stretched (:func:`stretch`); made 8-bit by truncating 255 × value.
        salient: Boolean map.

    Returns:
        float64 (256,), index k = threshold 255 - k, positive where 8-bit value >= threshold.
    """
    level = (np.asarray(value, np.float64) * 255).astype(np.uint8)
    inside = np.bincount(level[salient], minlength=256)[::-1].cumsum()
    positive = np.bincount(level.ravel(), minlength=256)[::-1].cumsum()
    return f_measure(inside / np.maximum(positive, 1), inside / max(int(salient.sum()), 1), beta_squared)


def adaptive_f(value: np.ndarray, salient: np.ndarray, beta_squared: float = BETA_SQUARED) -> float:
    """F-measure of one image at twice its mean value (at most 1), of the stretched map."""
    positive = value >= min(2 * float(np.mean(value)), 1.0)
    hit = int((positive & salient).sum())
    if hit == 0:
        return 0.0
    return float(f_measure(hit / positive.sum(), hit / salient.sum(), beta_squared))


def mean_absolute_error(value: np.ndarray, salient: np.ndarray) -> float:
    """Mean |value - label| of one image, of the stretched map."""
    return float(np.abs(np.asarray(value, np.float64) - salient).mean())
