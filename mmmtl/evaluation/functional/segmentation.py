"""Segmentation: confusion matrix and intersection over union."""

from __future__ import annotations

import numpy as np

from mmmtl.errors import InputError
from mmmtl.utils.labels import IGNORE


def confusion_matrix(pred: np.ndarray, gt: np.ndarray, num_classes: int) -> np.ndarray:
    """Count pixels by true and predicted class in one pass.

    Args:
        pred: Integer class map, 0 .. ``num_classes`` - 1; 255 = no prediction (counts as a miss of the true
            class).
        gt: Integer class map of the same shape, 255 = invalid: not counted.
        num_classes: Number of classes ``n``.

    Returns:
        int64 (n, n + 1): row = true class, column = predicted class, last column = no prediction.

    Raises:
        InputError: When a map holds another value, or the shapes differ.
    """
    if pred.shape != gt.shape:
        raise InputError(f'prediction has shape {pred.shape}, label {gt.shape}')
    if num_classes > IGNORE:
        raise InputError(f'num_classes must be at most {IGNORE}, got {num_classes}')
    # one count over pairs of bytes, folded afterwards: no comparison per class and no second pass to find
    # wrong values
    pairs = _bytes(gt, 'label').astype(np.int64)
    pairs *= 256
    pairs += _bytes(pred, 'prediction')
    counts = np.bincount(pairs.ravel(), minlength=65536).reshape(256, 256)
    for found, name in ((counts[:IGNORE].sum(1), 'label'), (counts[:IGNORE].sum(0), 'prediction')):
        wrong = np.flatnonzero(found[num_classes:IGNORE]) + num_classes
        if len(wrong):
            raise InputError(f'{name} holds {wrong[:8].tolist()}, expected 0..{num_classes - 1} or {IGNORE}')
    return np.concatenate([counts[:num_classes, :num_classes], counts[:num_classes, IGNORE:]], axis=1)


def _bytes(values: np.ndarray, name: str) -> np.ndarray:
    if values.dtype.kind not in 'iub':
        raise InputError(f'{name} must be an integer map, got {values.dtype}')
    if values.dtype != np.uint8 and values.size and (values.min() < 0 or values.max() > IGNORE):
        raise InputError(f'{name} holds values from {values.min()} to {values.max()}, expected 0..{IGNORE}')
    return values.astype(np.uint8)


def class_iou(confusion: np.ndarray) -> np.ndarray:
    """Intersection over union per class, NaN for a class neither labelled nor predicted.

    Args:
        confusion: (n, n + 1) counts of :func:`confusion_matrix`.
    """
    confusion = np.asarray(confusion, np.int64)
    n = len(confusion)
    hit = np.diagonal(confusion)[:n]
    union = confusion.sum(1) + confusion[:, :n].sum(0) - hit
    return np.divide(hit, union, out=np.full(n, np.nan), where=union > 0)


def mean_iou(confusion: np.ndarray, absent: str = 'skip') -> float:
    """Mean IoU over classes, as a fraction.

    Args:
        confusion: (n, n + 1) counts summed over the dataset.
        absent: What a class neither labelled nor predicted contributes: ``skip`` leaves it out of the mean
            (StableMTL, mmsegmentation), ``zero`` counts it as 0 (TaskDiffusion, DiffusionMTL and the code
            they descend from).
    """
    iou = class_iou(confusion)
    if absent == 'zero':
        return float(np.nan_to_num(iou).mean())
    if absent != 'skip':
        raise InputError(f"absent must be 'skip' or 'zero', got {absent!r}")
    present = iou[~np.isnan(iou)]
    return float(present.mean()) if len(present) else float('nan')


def class_accuracy(confusion: np.ndarray) -> np.ndarray:
    """Share of each class's labelled pixels that is predicted right, NaN for a class without labelled pixels."""
    confusion = np.asarray(confusion, np.int64)
    labelled = confusion.sum(1)
    hit = np.diagonal(confusion)[: len(confusion)]
    return np.divide(hit, labelled, out=np.full(len(confusion), np.nan), where=labelled > 0)


def pixel_accuracy(confusion: np.ndarray) -> float:
    """Share of all labelled pixels that is predicted right."""
    total = int(confusion.sum())
    return float(np.trace(confusion[:, : len(confusion)]) / total) if total else float('nan')
