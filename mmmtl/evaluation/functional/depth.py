"""Depth: errors of one image, as sums that pool over a dataset or as the image's own metrics."""

from __future__ import annotations

import numpy as np

CHUNK = 8192
_LOG_10, _LOG_125 = float(np.log(10.0)), float(np.log(1.25))

DEPTH_FLOOR = 1e-9
"""What a prediction of zero or less counts as, so that logarithms exist (the published meters)."""


def depth_sums(
    pred: np.ndarray, gt: np.ndarray, valid: np.ndarray | None = None, floor: float = DEPTH_FLOOR
) -> dict[str, np.ndarray]:
    """Sums over the valid pixels of one image from which all metrics follow.

    Args:
        pred: (n,) predicted depth in metres; values below ``floor`` are raised to it.
        gt: (n,) true depth, positive where valid.
        valid: Boolean (n,); default: everywhere.
        floor: See above.

    Returns:
        ``count`` and ``within`` (3,): integers; ``sums`` float64 (8,): |e|, e², |e|/g, e²/g, log ratio, log
        ratio², |log10 ratio|, (1/p - 1/g)².
    """
    sums, within = np.zeros(8), np.zeros(3, np.int64)
    count = len(gt) if valid is None else int(np.count_nonzero(valid))
    for start in range(0, len(gt), CHUNK):  # small enough to stay in the cache from one step to the next
        p, g = pred[start : start + CHUNK], gt[start : start + CHUNK]
        if valid is not None:  # two equal depths add nothing to any sum, which is cheaper than taking them out
            known = valid[start : start + CHUNK]
            p, g = np.where(known, p, p.dtype.type(1)), np.where(known, g, g.dtype.type(1))
        part_sums, part_within = _chunk_sums(p, g, floor)
        sums += part_sums
        within += part_within
    return dict(count=np.int64(count), within=within - (len(gt) - count), sums=sums)


def _chunk_sums(pred: np.ndarray, gt: np.ndarray, floor: float) -> tuple[list[float], list[int]]:
    pred = np.maximum(pred, floor, dtype=np.float64)
    gt = gt.astype(np.float64)
    inverse = np.reciprocal(gt)
    error = pred - gt
    size = np.abs(error)
    relative = size * inverse
    log = np.log(pred * inverse)  # one logarithm serves four metrics
    far = np.abs(log)
    squares = [size * size, size * relative, log * log]
    size_sum, relative_sum, far_sum = float(size.sum()), float(relative.sum()), float(far.sum())
    error_squares, relative_squares, log_squares = (float(values.sum()) for values in squares)
    inverse_error = np.divide(error, pred, out=error)  # 1/g - 1/p = (p - g) / (p g)
    inverse_error *= inverse
    inverse_error *= inverse_error
    sums = [size_sum, error_squares, relative_sum, relative_squares, float(log.sum()), log_squares]
    sums += [far_sum / _LOG_10, float(inverse_error.sum())]
    return sums, [int(np.count_nonzero(far < k * _LOG_125)) for k in (1, 2, 3)]


def depth_metrics(state: dict[str, np.ndarray]) -> dict[str, float]:
    """Metrics from the sums of :func:`depth_sums`, of one image or added over many; empty without a valid
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
