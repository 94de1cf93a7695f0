"""Saliency: F-measure over thresholds, pooled over a dataset or by the convention of the saliency toolkits."""

from __future__ import annotations

import numpy as np

from mmmtl.errors import InputError

BETA_SQUARED = 0.3
CHUNK = 16384
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))
"""0.05, 0.10, .. 0.95 (InvPT, TaskPrompter, DiffusionMTL, TaskDiffusion)."""


def threshold_counts(
    probability: np.ndarray, gt: np.ndarray, thresholds: tuple[float, ...] = THRESHOLDS, double_sigmoid: bool = False
) -> np.ndarray:
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
        raise InputError(f'prediction has shape {probability.shape}, label {gt.shape}')
    levels = np.asarray(thresholds, np.float32)
    table = _LevelTable(levels)
    width = len(levels) + 1
    counts = np.zeros(256 * width, np.int64)
    for start in range(0, value.size, CHUNK):  # small enough to stay in the cache from one step to the next
        part = value[start : start + CHUNK]
        if double_sigmoid:
            part = np.float32(1) / (np.float32(1) + np.exp(-part))
        place = label[start : start + CHUNK].astype(np.uint8).astype(np.intp)
        place *= width
        place += table.passed(part)
        counts += np.bincount(place, minlength=len(counts))
    by_label = counts.reshape(256, width)[:2]
    reached = np.cumsum(by_label[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return np.stack([reached[1], reached[0], by_label[1].sum() - reached[1]])


class _LevelTable:
    """How many of some ascending levels a float32 value reaches, by table lookup instead of a search.

    [0, 1] is cut into cells, so narrow that none holds two levels: the cell says how many levels lie below it, and one
    comparison decides about the level inside.
    """

    cells = 4096

    def __init__(self, levels: np.ndarray) -> None:
        self.levels = levels
        cell = self._cell(levels)
        self.usable = len(np.unique(cell)) == len(levels) and bool(((levels >= 0) & (levels <= 1)).all())
        if self.usable:
            self.below = np.searchsorted(cell, np.arange(self.cells + 1), side='left').astype(np.int16)
            self.inside = np.full(self.cells + 1, np.inf, np.float32)
            self.inside[cell] = levels

    def _cell(self, value: np.ndarray) -> np.ndarray:
        # a product with a power of two is exact, so a value and a level compare as their cells do
        return np.clip(value * np.float32(self.cells), 0, self.cells).astype(np.int32)

    def passed(self, value: np.ndarray) -> np.ndarray:
        """Number of levels that are at most ``value``; 0 for NaN."""
        unknown = np.isnan(value)
        if unknown.any():
            value = np.where(unknown, np.float32(-1), value)
        if not self.usable:
            return np.searchsorted(self.levels, value, side='right')
        cell = self._cell(value)
        return self.below[cell] + (value >= self.inside[cell])


def f_measure(precision: np.ndarray, recall: np.ndarray, beta_squared: float = BETA_SQUARED) -> np.ndarray:
    """Weighted harmonic mean (1 + b²) P R / (b² P + R); 0 where it is undefined."""
    precision, recall = np.asarray(precision, np.float64), np.asarray(recall, np.float64)
    below = beta_squared * precision + recall
    return np.divide((1 + beta_squared) * precision * recall, below, out=np.zeros_like(below), where=below > 0)


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


def level_counts(value: np.ndarray, salient: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Predicted pixels of one image at the 256 integer thresholds 255, 254, .. 0 of its 8-bit map.

    Args:
        value: Map in [0, 1], already stretched (:func:`stretch`); made 8-bit by truncating 255 × value.
        salient: Boolean map.

    Returns:
        Pixels that are predicted and salient, and that are predicted: int64 (256,) each, index k = threshold 255 - k,
        predicted where 8-bit value >= threshold.
    """
    level = (np.asarray(value, np.float64) * 255).astype(np.uint8)
    inside, all_levels = np.bincount(level[salient], minlength=256), np.bincount(level.ravel(), minlength=256)
    return inside[::-1].cumsum(), all_levels[::-1].cumsum()


def toolkit_f_curve(value: np.ndarray, salient: np.ndarray, beta_squared: float = BETA_SQUARED) -> np.ndarray:
    """F-measure of one image at the thresholds of :func:`level_counts`, float64 (256,)."""
    inside, positive = level_counts(value, salient)
    return f_measure(inside / np.maximum(positive, 1), inside / max(int(salient.sum()), 1), beta_squared)


def adaptive_map(value: np.ndarray) -> np.ndarray:
    """Pixels that reach twice the mean of the map (at most 1)."""
    return value >= min(2 * float(np.mean(value)), 1.0)


def adaptive_f(value: np.ndarray, salient: np.ndarray, beta_squared: float = BETA_SQUARED) -> float:
    """F-measure of one image at twice its mean value (at most 1), of the stretched map."""
    positive = adaptive_map(value)
    hit = int((positive & salient).sum())
    if hit == 0:
        return 0.0
    return float(f_measure(hit / positive.sum(), hit / salient.sum(), beta_squared))


def mean_absolute_error(value: np.ndarray, salient: np.ndarray) -> float:
    """Mean |value - label| of one image, of the stretched map."""
    return float(np.abs(np.asarray(value, np.float64) - salient).mean())
