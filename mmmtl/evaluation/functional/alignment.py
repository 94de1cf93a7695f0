"""Fit a prediction that is known up to a scale (and shift) to its label, in closed form.

The sums are taken in float64 and in a fixed order, so the result does not depend on a linear algebra library
or its number of threads.
"""

from __future__ import annotations

import numpy as np

from mmmtl.errors import InputError


def fit_scale_shift(pred: np.ndarray, gt: np.ndarray) -> tuple[float, float]:
    """Scale s and shift t minimising Σ (s·pred + t - gt)²; (0, mean of gt) for a constant prediction.

    Args:
        pred, gt: (n,) numbers of the valid pixels.
    """
    pred, gt = np.asarray(pred, np.float64).ravel(), np.asarray(gt, np.float64).ravel()
    if not pred.size:
        raise InputError('a scale and shift cannot be fitted without a valid pixel')
    mean_pred, mean_gt = pred.mean(), gt.mean()
    centred = pred - mean_pred
    spread = float((centred * centred).sum())
    # a constant prediction leaves only rounding in `centred`
    if spread <= pred.size * (np.finfo(np.float64).eps * max(abs(mean_pred), 1e-300)) ** 2:
        return 0.0, float(mean_gt)
    scale = float((centred * (gt - mean_gt)).sum()) / spread
    return scale, float(mean_gt - scale * mean_pred)


def fit_scale(pred: np.ndarray, gt: np.ndarray) -> float:
    """Scale s minimising Σ (s·pred - gt)² over all numbers given; 0 for an all-zero prediction."""
    pred, gt = np.asarray(pred, np.float64).ravel(), np.asarray(gt, np.float64).ravel()
    energy = float((pred * pred).sum())
    return float((pred * gt).sum()) / energy if energy > 0 else 0.0


def fit_scales(pred: np.ndarray, gt: np.ndarray) -> np.ndarray:
    """Non-negative scale of every channel by least squares.

    Args:
        pred, gt: (C, n) numbers of the valid pixels.

    Returns:
        float64 (C,), each >= 0.
    """
    return np.array([max(fit_scale(p, g), 0.0) for p, g in zip(pred, gt)])
