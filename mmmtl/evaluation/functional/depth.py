"""Depth: errors of one image, as sums that pool over a dataset or as the image's own figures."""

from __future__ import annotations

import numpy as np

__all__ = ['DEPTH_FLOOR', 'depth_figures', 'depth_sums']

DEPTH_FLOOR = 1e-9
"""What a prediction of zero or less counts as, so that logarithms exist (the published meters)."""


def depth_sums(pred: np.ndarray, gt: np.ndarray, floor: float = DEPTH_FLOOR) -> dict[str, np.ndarray]:
    """Sums over the valid pixels of one image from which all figures follow.

    Args:
        pred: (n,) predicted depth in metres; values below ``floor`` are raised to it.
        gt: (n,) true depth, positive.

    Returns:
        ``count`` and ``within`` (3,): integers; ``sums`` float64 (8,): |e|, e², |e|/g, e²/g, log ratio, log
        ratio², |log10 ratio|, (1/p - 1/g)².
    """
    # one float64 copy each; the logarithm is taken once, of the ratio
    pred = np.maximum(np.asarray(pred, np.float64), floor)
    gt = np.asarray(gt, np.float64)
    error = pred - gt
    size = np.abs(error)
    inverse = 1.0 / gt
    ratio = pred * inverse
    log = np.log(ratio)
    relative = size * inverse
    sums = [
        size.sum(),
        np.dot(error, error),
        relative.sum(),
        np.dot(size, relative),
        log.sum(),
        np.dot(log, log),
    ]
    sums += [np.abs(log).sum() / np.log(10.0), np.square(1.0 / pred - inverse).sum()]
    far = np.abs(log)
    within = [int((far < k * np.log(1.25)).sum()) for k in (1, 2, 3)]
    return dict(count=np.int64(gt.size), within=np.array(within, np.int64), sums=np.array(sums, np.float64))


def depth_figures(state: dict[str, np.ndarray]) -> dict[str, float]:
    """Figures from the sums of :func:`depth_sums`, of one image or added over many; empty without a valid
    pixel.

    Returns:
        RMSE, absErr, relErr (|e|/g), sqRel (e²/g), logRMSE (natural logarithm), log10, siLog (standard
        deviation of the log ratio, × 100), iRMSE (1/m), delta1, delta2, delta3 (share with max(p/g, g/p) <
        1.25, 1.25², 1.25³).
    """
    count = int(state['count'])
    if not count:
        return {}
    mean = np.asarray(state['sums'], np.float64) / count
    within = np.asarray(state['within'], np.float64) / count
    return {
        'RMSE': float(np.sqrt(mean[1])),
        'absErr': float(mean[0]),
        'relErr': float(mean[2]),
        'sqRel': float(mean[3]),
        'logRMSE': float(np.sqrt(mean[5])),
        'log10': float(mean[6]),
        'siLog': float(100.0 * np.sqrt(max(mean[5] - mean[4] ** 2, 0.0))),
        'iRMSE': float(np.sqrt(mean[7])),
        'delta1': float(within[0]),
        'delta2': float(within[1]),
        'delta3': float(within[2]),
    }
