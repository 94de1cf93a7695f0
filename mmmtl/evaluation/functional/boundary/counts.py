"""Metrics of boundary evaluation from counts of matched and unmatched pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def precision_recall(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall from counts.

    Where nothing is labelled recall is 1 and precision 0; where something is labelled and nothing predicted recall is 0 and
    precision 1: F is 0 in both cases (the rule of the ``atrc`` chain).

    Args:
        counts: (4, ...): matched label pixels, label pixels, matched predicted pixels, predicted pixels.

    Returns:
        (precision, recall).
    """
    hit_gt, all_gt, hit_pred, all_pred = np.asarray(counts, np.float64)
    recall = np.divide(hit_gt, all_gt, out=np.ones_like(hit_gt), where=all_gt > 0)
    precision = np.divide(hit_pred, all_pred, out=np.ones_like(hit_pred), where=all_pred > 0)
    return np.where(all_gt > 0, precision, 0.0), recall


def f_curve(precision: np.ndarray, recall: np.ndarray) -> np.ndarray:
    """Harmonic mean of precision and recall, 0 where both are 0."""
    total = np.asarray(precision, np.float64) + recall
    return np.divide(2.0 * precision * recall, total, out=np.zeros_like(total), where=total > 0)


def best_f(counts: np.ndarray) -> tuple[int, float]:
    """The best threshold's index and F.

    Args:
        counts: (4, thresholds).
    """
    curve = f_curve(*precision_recall(counts))
    index = int(np.argmax(curve))
    return index, float(curve[index])


def best_point(
    counts: np.ndarray, thresholds: Sequence[float], interpolate: bool = False
) -> tuple[float, float, float, float]:
    """The best threshold with its recall, precision and F.

    Args:
        counts: (4, thresholds).
        thresholds: Ascending.
        interpolate: Look between neighbouring thresholds too, at 100 points of straight lines in threshold, precision
            and recall (the BSDS benchmark's rule).
    """
    precision, recall = precision_recall(counts)
    threshold = np.asarray(thresholds, np.float64)
    if interpolate and len(threshold) > 1:
        share = np.linspace(0.0, 1.0, 100)
        threshold, recall, precision = (
            (v[1:, None] * share + v[:-1, None] * (1 - share)).ravel() for v in (threshold, recall, precision)
        )
    curve = f_curve(precision, recall)
    index = int(np.argmax(curve))
    return float(threshold[index]), float(recall[index]), float(precision[index]), float(curve[index])


def average_precision(counts: np.ndarray) -> float:
    """Area under precision over recall, sampled at recall 0, 0.01, .. 1; zero outside the recalls that occur.

    Args:
        counts: (4, thresholds), ascending thresholds; of equal recalls the highest threshold counts.
    """
    precision, recall = precision_recall(counts)
    recall, last = np.unique(recall[::-1], return_index=True)
    if len(recall) < 2:
        return 0.0
    sampled = np.interp(np.linspace(0.0, 1.0, 101), recall, precision[::-1][last], left=0.0, right=0.0)
    return float(sampled.sum() / 100.0)
