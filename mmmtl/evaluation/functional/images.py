"""Albedo and shading: errors between image-like maps."""

from __future__ import annotations

import numpy as np
from scipy.ndimage import uniform_filter


def image_rmse(pred: np.ndarray, gt: np.ndarray, valid: np.ndarray) -> float:
    """Root mean over valid pixels of the square error, summed over channels: √C times that of single numbers (StableMTL).

    Args:
        pred, gt: (C, H, W).
        valid: Boolean (H, W), at least one True.
    """
    error = (np.asarray(pred, np.float64) - np.asarray(gt, np.float64))[:, valid]
    return float(np.sqrt((error * error).sum() / (error.shape[1])))


def structural_similarity(pred: np.ndarray, gt: np.ndarray) -> float:
    """Structural similarity with a uniform 7 × 7 window for maps in [0, 1], averaged over channels and
    pixels.

    Args:
        pred, gt: float (C, H, W), at least 7 × 7; no mask. Computed in float32, by Wang et al. (2004), equation 13,
            with K = (0.01, 0.03), sample covariances, and without the 3 pixels at the edge: the digits of scikit-image.
    """
    if min(np.shape(gt)[-2:]) < 7:
        raise ValueError(f'structural similarity needs maps of at least 7 × 7 pixels, got {np.shape(gt)[-2:]}')
    pred, gt = np.asarray(pred, np.float32), np.asarray(gt, np.float32)
    return float(np.mean([_channel_similarity(g, p) for p, g in zip(pred, gt)]))


def _channel_similarity(x: np.ndarray, y: np.ndarray) -> float:
    """Structural similarity of two maps (H, W) in [0, 1]."""
    mean_x, mean_y = uniform_filter(x, 7), uniform_filter(y, 7)
    unbiased = 49 / 48  # of the 7 × 7 pixels of a window
    var_x = unbiased * (uniform_filter(x * x, 7) - mean_x * mean_x)
    var_y = unbiased * (uniform_filter(y * y, 7) - mean_y * mean_y)
    covariance = unbiased * (uniform_filter(x * y, 7) - mean_x * mean_y)
    c1, c2 = 0.01**2, 0.03**2
    top = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    bottom = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    return float((top / bottom)[3:-3, 3:-3].mean(dtype=np.float64))


def local_mse(pred: np.ndarray, gt: np.ndarray, valid: np.ndarray, window: int = 16, shift: int = 8) -> float:
    """Local mean square error: windows are fitted by a scale each; errors and energies are added over
    windows.

    Args:
        pred, gt: (C, H, W); one scale per window for all channels together.
        valid: Boolean (H, W).
        window: Side of a window in pixels.
        shift: Step between windows.

    Returns:
        Σ windows Σ (g - αp)² / Σ windows Σ g², with α = Σpg / Σp² of the window (0 where Σp² <= 1e-5).
    """
    if min(np.shape(gt)[-2:]) < window:
        raise ValueError(f'local error needs maps of at least {window} × {window} pixels, got {np.shape(gt)[-2:]}')
    mask = np.asarray(valid, np.float64)
    pred, gt = np.asarray(pred, np.float64) * mask, np.asarray(gt, np.float64) * mask
    error = energy = 0.0
    for top in range(0, pred.shape[1] - window + 1, shift):
        for left in range(0, pred.shape[2] - window + 1, shift):
            p = pred[:, top : top + window, left : left + window]
            g = gt[:, top : top + window, left : left + window]
            norm = float((p * p).sum())
            alpha = float((p * g).sum()) / norm if norm > 1e-5 else 0.0
            error += float(((g - alpha * p) ** 2).sum())
            energy += float((g * g).sum())
    return error / energy if energy > 0 else 0.0
