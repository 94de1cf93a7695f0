"""One-to-one matching of boundary pixels within a distance, with as many pairs as possible."""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

__all__ = ['disc', 'match_pixels']


def disc(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (rows, columns) of all pixels at most ``radius`` away, nearest first."""
    reach = int(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    squared = rows * rows + columns * columns
    order = np.argsort(squared, kind='stable')
    order = order[squared[order] <= radius * radius]
    return rows[order], columns[order]


def match_pixels(pred: np.ndarray, gt: np.ndarray, max_dist: float) -> tuple[np.ndarray, np.ndarray]:
    """Match predicted and true boundary pixels one to one: a maximum-cardinality matching.

    Args:
        pred, gt: Boolean (H, W).
        max_dist: Largest distance of a pair as a share of the image's diagonal √(H² + W²).

    Returns:
        Boolean (H, W) masks of the matched pixels of ``pred`` and of ``gt``; both have the same number of True.
    """
    if pred.shape != gt.shape:
        raise ValueError(f'prediction has shape {pred.shape}, label {gt.shape}')
    height, width = pred.shape
    matched_pred, matched_gt = np.zeros_like(pred, bool), np.zeros_like(gt, bool)
    left, right = np.nonzero(pred), np.nonzero(gt)
    if not len(left[0]) or not len(right[0]):
        return matched_pred, matched_gt
    number = np.full((height, width), -1, np.int32)
    number[right] = np.arange(len(right[0]))
    heads, tails = [], []
    for row, column in zip(*disc(max_dist * np.hypot(height, width))):
        y, x = left[0] + row, left[1] + column
        inside = np.flatnonzero((y >= 0) & (y < height) & (x >= 0) & (x < width))
        found = number[y[inside], x[inside]]
        heads.append(inside[found >= 0])
        tails.append(found[found >= 0])
    head, tail = np.concatenate(heads), np.concatenate(tails)
    graph = csr_matrix((np.ones(len(head), np.int8), (head, tail)), shape=(len(left[0]), len(right[0])))
    partner = maximum_bipartite_matching(graph, perm_type='column')
    chosen = np.flatnonzero(partner >= 0)
    matched_pred[left[0][chosen], left[1][chosen]] = True
    matched_gt[right[0][partner[chosen]], right[1][partner[chosen]]] = True
    return matched_pred, matched_gt
