"""Optical and scene flow: end-point errors and what is counted with them."""

from __future__ import annotations

import numpy as np

from .vectors import normalised


def flow_sums(pred: np.ndarray, gt: np.ndarray) -> dict[str, np.ndarray]:
    """Sums over the valid pixels of one image.

    Args:
        pred, gt: (C, n); C = 2 pixels (optical flow) or C = 3 metres (scene flow).

    Returns:
        ``count``; ``sums`` float64 (2,): end-point error, angle in degrees between the vectors as they are;
        ``hits`` int64 (4,): Fl outliers (error > 3 and > 5 % of the length), and, with the length plus 1e-4
        as the divisor, strict (< 0.05 and < 5 %), relaxed (< 0.1 and < 10 %), outliers (> 0.3 and > 10 %).
    """
    pred, gt = np.asarray(pred, np.float64), np.asarray(gt, np.float64)
    error = np.sqrt(((pred - gt) ** 2).sum(0))
    length = np.sqrt((gt * gt).sum(0))
    angle = np.degrees(np.arccos(np.clip((normalised(pred) * normalised(gt)).sum(0), -1.0, 1.0)))
    share = error / (length + 1e-4)
    hits = [
        ~((error <= 3.0) | (error <= 0.05 * length)),  # what is no number is an outlier
        (error < 0.05) & (share < 0.05),
        (error < 0.1) & (share < 0.1),
        ~((error <= 0.3) | (share <= 0.1)),
    ]
    return dict(
        count=np.int64(error.size),
        sums=np.array([error.sum(), angle.sum()]),
        hits=np.array([int(h.sum()) for h in hits], np.int64),
    )


def flow_metrics(state: dict[str, np.ndarray], channels: int) -> dict[str, float]:
    """Metrics from the sums of :func:`flow_sums`; empty without a valid pixel.

    Returns:
        EPE; for two channels Fl (share of outliers) and angle (degrees); for three accStrict, accRelax and
        outliers.
    """
    count = int(state['count'])
    if not count:
        return {}
    error, angle = (float(v) / count for v in state['sums'])
    outliers, strict, relaxed, far = (float(v) / count for v in state['hits'])
    if channels == 2:
        return {'EPE': error, 'Fl': outliers, 'angle': angle}
    return {'EPE': error, 'accStrict': strict, 'accRelax': relaxed, 'outliers': far}
