"""One-to-one matching of boundary pixels within a distance, with as many pairs as possible.

Two pixels may form a pair when they lie at most a given distance apart. The size of the largest set of pairs
in which no pixel occurs twice is what boundary precision and recall count. It is found exactly, by augmenting
paths, searched breadth-first from all unmatched pixels at once: every tree of the search owns its pixels, so
that all paths found in one round are flipped together, and each step is a few operations on arrays.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from mmmtl.errors import InputError

_PRED, _GT = 0, 1
NEAREST_LIMIT = 400_000
"""Pairs up to which a matching with the smallest sum of distances is looked for."""


def disc(radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Offsets (rows, columns) of all pixels at most ``radius`` away, nearest first."""
    reach = int(radius)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    squared = rows * rows + columns * columns
    order = np.argsort(squared, kind='stable')
    order = order[squared[order] <= radius * radius]
    return rows[order], columns[order]


class PixelMatcher:
    """Maximum-cardinality matchings of changing predictions with one label.

    The neighbours of every pixel are found once, and each matching starts from the one before: a sweep over thresholds is
    hardly more work than its largest matching.

    Args:
        gt: Boolean (H, W): the label's boundary pixels.
        radius: Largest distance of a pair, in pixels.
        region: Boolean (H, W): where predictions will ever be positive; default: everywhere.
    """

    def __init__(self, gt: np.ndarray, radius: float, region: np.ndarray | None = None) -> None:
        self.shape = gt.shape
        size = gt.size
        pixel, target = self._pairs(gt, radius, region)
        self._targets = np.flatnonzero(gt)
        self._present = np.zeros(size, bool)
        # edges of both sides in compressed rows; a row starts with the nearest neighbour
        self._start, self._neighbours = [], []
        for own, other, count in ((pixel, target, size), (target, pixel, len(self._targets))):
            order = np.argsort(own, kind='stable')
            self._neighbours.append(other[order])
            self._start.append(np.concatenate([[0], np.cumsum(np.bincount(own, minlength=count))]))
        self._mate = [np.full(size, -1, np.int32), np.full(len(self._targets), -1, np.int32)]
        self._claim = [np.zeros(size, np.int32), np.zeros(len(self._targets), np.int32)]

    @staticmethod
    def _pairs(gt: np.ndarray, radius: float, region: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """All pairs within ``radius``, nearest first: (flat pixel, number of the label pixel)."""
        height, width = gt.shape
        rows, columns = (c.astype(np.int32) for c in np.nonzero(gt))
        pixels, targets = [], []
        for dy, dx in zip(*disc(radius)):
            y, x = rows + np.int32(dy), columns + np.int32(dx)
            inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
            pixel = y * np.int32(width) + x
            if region is not None:
                inside[inside] = region.ravel()[pixel[inside]]
            number = np.flatnonzero(inside)
            pixels.append(pixel[number])
            targets.append(number.astype(np.int32))
        return np.concatenate(pixels), np.concatenate(targets)

    def match(self, pred: np.ndarray) -> int:
        """Size of the largest matching of the boolean (H, W) map ``pred`` with the label."""
        if pred.shape != self.shape:
            raise InputError(f'prediction has shape {pred.shape}, label {self.shape}')
        self._present = pred.ravel()
        self._forget()
        free = np.flatnonzero(self._present & (self._mate[_PRED] < 0))
        free = free[self._start[_PRED][free + 1] > self._start[_PRED][free]]
        free = self._greedy(free)
        while len(free):
            open_targets = np.flatnonzero(self._mate[_GT] < 0)
            side, nodes = (_PRED, free) if len(free) <= len(open_targets) else (_GT, open_targets)
            if not self._augment(side, nodes):
                break
            free = free[self._mate[_PRED][free] < 0]
        return int(np.count_nonzero(self._mate[_GT] >= 0))

    def pairs(self) -> tuple[np.ndarray, np.ndarray]:
        """Flat indices of the matched pixels of the last prediction and of their partners in the label."""
        paired = np.flatnonzero(self._mate[_GT] >= 0)
        return self._mate[_GT][paired].astype(np.int64), self._targets[paired]

    def matched(self) -> tuple[np.ndarray, np.ndarray]:
        """Boolean (H, W) masks of the matched pixels of the last prediction and of the label."""
        of_pred, of_gt = np.zeros(self.shape, bool), np.zeros(self.shape, bool)
        pixels, partners = self.pairs()
        of_pred.ravel()[pixels] = True
        of_gt.ravel()[partners] = True
        return of_pred, of_gt

    def match_nearest(self, pred: np.ndarray) -> int:
        """As :meth:`match`, and of all largest matchings one with the smallest sum of distances.

        Which pixels are matched matters where several labels are compared with one prediction. Beyond
        :data:`NEAREST_LIMIT` pairs, where the assignment problem can take very long, it is the result of
        :meth:`match`, whose pairs are near but not always the nearest.
        """
        pixels = np.flatnonzero(pred.ravel())
        self._present = pred.ravel()
        owner, target = self._edges(_PRED, pixels)
        if len(owner) > NEAREST_LIMIT or not len(owner):
            return self.match(pred)
        used, owner = np.unique(owner, return_inverse=True)
        pixels, width = pixels[used], self.shape[1]
        theirs = self._targets[target]
        rows, columns = pixels[owner] // width - theirs // width, pixels[owner] % width - theirs % width
        # a pixel may also stay alone, at a cost that no sum of distances can reach
        n, m = len(pixels), len(self._targets)
        alone = (min(n, m) + 1.0) * (np.sqrt(float((rows * rows + columns * columns).max())) + 1.0)
        cost = np.concatenate([np.hypot(rows, columns) + 1.0, np.full(n, alone)])
        ends = np.concatenate([target, m + np.arange(n)])
        graph = csr_matrix((cost, (np.concatenate([owner, np.arange(n)]), ends)), shape=(n, m + n))
        chosen_pixel, chosen = min_weight_full_bipartite_matching(graph)
        self._mate[_PRED].fill(-1)
        self._mate[_GT].fill(-1)
        paired = chosen < m
        self._pair(pixels[chosen_pixel[paired]], chosen[paired])
        return int(np.count_nonzero(paired))

    def _forget(self) -> None:
        """Dissolve pairs whose pixel is no longer predicted."""
        matched = np.flatnonzero(self._mate[_GT] >= 0)
        pixel = self._mate[_GT][matched]
        gone = ~self._present[pixel]
        self._mate[_PRED][pixel[gone]] = -1
        self._mate[_GT][matched[gone]] = -1

    def _edges(self, side: int, nodes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Edges of ``nodes``, row by row: (index into ``nodes``, neighbour on the other side)."""
        start = self._start[side][nodes]
        degree = self._start[side][nodes + 1] - start
        ends = np.cumsum(degree)
        owner = np.repeat(np.arange(len(nodes)), degree)
        neighbour = self._neighbours[side][np.arange(len(owner)) + np.repeat(start - ends + degree, degree)]
        if side == _PRED:
            return owner, neighbour
        there = self._present[neighbour]
        return owner[there], neighbour[there]

    def _pair(self, pixels: np.ndarray, targets: np.ndarray) -> None:
        self._mate[_PRED][pixels] = targets
        self._mate[_GT][targets] = pixels

    def _greedy(self, free: np.ndarray) -> np.ndarray:
        """Give free pixels their nearest free target, round by round; the pixels that found none."""
        waiting = free
        while len(waiting):
            owner, target = self._edges(_PRED, waiting)
            is_open = self._mate[_GT][target] < 0
            owner, target = owner[is_open], target[is_open]
            nearest = np.flatnonzero(np.diff(owner, prepend=-1))
            pixel, target = waiting[owner[nearest]], target[nearest]
            claim = self._claim[_GT]
            claim[target] = pixel  # of several suitors the last one wins
            won = claim[target] == pixel
            self._pair(pixel[won], target[won])
            waiting = pixel[~won]
        return free[self._mate[_PRED][free] < 0]

    def _augment(self, side: int, roots: np.ndarray) -> int:
        """Grow alternating trees from all free ``roots`` of ``side`` and flip every path found; how many there were."""
        other = 1 - side
        mate, mate_other = self._mate[side], self._mate[other]
        claim = self._claim[other]
        parent = np.full(len(mate_other), -1, np.int32)
        leaf = np.full(len(roots), -1, np.int32)
        frontier, tree = roots, np.arange(len(roots))
        while len(frontier):
            owner, node = self._edges(side, frontier)
            new = parent[node] < 0
            owner, node = owner[new], node[new]
            number = np.arange(len(node), dtype=np.int32)
            claim[node] = number  # a node reached from several sides belongs to one tree
            owned = claim[node] == number
            owner, node = owner[owned], node[owned]
            parent[node] = frontier[owner]
            tree = tree[owner]
            partner = mate_other[node]
            ends = partner < 0
            leaf[tree[ends]] = node[ends]
            grows = ~ends & (leaf[tree] < 0)
            frontier, tree = partner[grows], tree[grows]
        node = leaf[leaf >= 0]
        found = len(node)
        while len(node):
            above = parent[node]
            before = mate[above]
            mate[above] = node
            mate_other[node] = above
            node = before[before >= 0]
        return found


def match_pixels(pred: np.ndarray, gt: np.ndarray, max_dist: float) -> tuple[np.ndarray, np.ndarray]:
    """Match predicted and true boundary pixels one to one: a maximum-cardinality matching.

    Args:
        pred, gt: Boolean (H, W).
        max_dist: Largest distance of a pair as a share of the image's diagonal √(H² + W²).

    Returns:
        Boolean (H, W) masks of the matched pixels of ``pred`` and of ``gt``; both have the same number of
        True.
    """
    matcher = PixelMatcher(np.asarray(gt, bool), max_dist * float(np.hypot(*gt.shape)))
    matcher.match(np.asarray(pred, bool))
    return matcher.matched()
