"""Matchings against enumeration, a greedy matching and another algorithm."""

from __future__ import annotations

import time
from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching

from mmmtl.evaluation.functional.boundary.matching import PixelMatcher, disc, match_pixels


def neighbours(pred, gt, radius):
    """For every predicted pixel: the label pixels within the radius with their distances."""
    left, right = np.argwhere(pred), np.argwhere(gt)
    if not len(left) or not len(right):
        return [[] for _ in left]
    distance = np.hypot(*(left[:, None] - right[None]).transpose(2, 0, 1))
    return [[(j, d) for j, d in enumerate(row) if d <= radius] for row in distance]


def enumerate_best(edges):
    """(largest number of pairs, smallest sum of distances for that many) over all one-to-one sets of pairs."""

    @cache
    def best(i, used):
        if i == len(edges):
            return 0, 0.0
        options = [best(i + 1, used)]
        for j, d in edges[i]:
            if not used >> j & 1:
                count, total = best(i + 1, used | 1 << j)
                options.append((count + 1, total - d))
        return max(options)

    count, total = best(0, 0)
    return count, -total


def greedy(edges):
    used = set()
    for row in edges:
        free = [j for j, _ in row if j not in used]
        used.update(free[:1])
    return len(used)


def check_pairs(matcher, pred, gt, radius):
    """The pairs are one-to-one, within the radius, on pixels of both maps; their number and sum of distances."""
    pixels, partners = matcher.pairs()
    assert len(set(pixels.tolist())) == len(set(partners.tolist())) == len(pixels)
    assert pred.ravel()[pixels].all() and gt.ravel()[partners].all()
    a, b = (np.stack(np.unravel_index(p, pred.shape)) for p in (pixels, partners))
    distance = np.hypot(*(a - b)) if len(pixels) else np.zeros(0)
    assert (distance <= radius).all()
    of_pred, of_gt = matcher.matched()
    assert of_pred.sum() == of_gt.sum() == len(pixels)
    return len(pixels), distance.sum()


points = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 6)), max_size=8, unique=True)


def as_map(places):
    mask = np.zeros((6, 7), bool)
    for place in places:
        mask[place] = True
    return mask


@settings(max_examples=400, deadline=None)
@given(points, points, st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.2]))
def test_small_matchings_equal_enumeration(left, right, radius):
    pred, gt = as_map(left), as_map(right)
    edges = neighbours(pred, gt, radius)
    count, distance = enumerate_best(edges)
    matcher = PixelMatcher(gt, radius)
    assert matcher.match(pred) == count >= greedy(edges)
    assert check_pairs(matcher, pred, gt, radius)[0] == count
    assert matcher.match_nearest(pred) == count
    found, total = check_pairs(matcher, pred, gt, radius)
    assert found == count and total == pytest.approx(distance, abs=1e-9)


@settings(max_examples=60, deadline=None)
@given(points, st.lists(points, min_size=1, max_size=5))
def test_a_sequence_of_predictions_is_matched_like_each_alone(right, sequence):
    """Every matching starts from the one before; that must not be seen in its size."""
    gt = as_map(right)
    region = np.any([as_map(p) for p in sequence], axis=0)
    matcher = PixelMatcher(gt, 2.0, region)
    for places in sequence:
        pred = as_map(places)
        assert matcher.match(pred) == enumerate_best(neighbours(pred, gt, 2.0))[0]
        check_pairs(matcher, pred, gt, 2.0)


def thin_noise(shape, seed, sigma):
    """Lines of about one pixel: zero crossings of smoothed noise."""
    field = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma) > 0
    lines = np.zeros(shape, bool)
    lines[:, 1:] = field[:, 1:] != field[:, :-1]
    lines[1:] |= field[1:] != field[:-1]
    return lines


def hopcroft_karp(pred, gt, radius):
    edges = neighbours(pred, gt, radius)
    rows = np.repeat(np.arange(len(edges)), [len(row) for row in edges])
    columns = np.array([j for row in edges for j, _ in row], np.int64)
    graph = csr_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(int(pred.sum()), int(gt.sum())))
    return int((maximum_bipartite_matching(graph, perm_type='column') >= 0).sum())


@pytest.mark.parametrize('seed', range(6))
@pytest.mark.parametrize('sigma', [2.0, 4.0])
def test_medium_matchings_equal_another_algorithm(seed, sigma):
    gt = thin_noise((48, 64), seed, sigma)
    pred = thin_noise((48, 64), seed + 100, sigma) if seed % 2 else np.roll(gt, (1, 2), (0, 1))
    matcher = PixelMatcher(gt, 2.3)
    wanted = hopcroft_karp(pred, gt, 2.3)
    assert matcher.match(pred) == wanted
    check_pairs(matcher, pred, gt, 2.3)
    assert matcher.match_nearest(pred) == wanted
    check_pairs(matcher, pred, gt, 2.3)
    # and from a prediction that has lost and gained pixels
    changed = pred ^ (np.random.default_rng(seed).random(pred.shape) < 0.1)
    assert matcher.match(changed) == hopcroft_karp(changed, gt, 2.3)


def test_match_pixels_takes_a_share_of_the_diagonal():
    pred, gt = np.zeros((30, 40), bool), np.zeros((30, 40), bool)  # diagonal 50
    pred[10, 10] = gt[10, 13] = True
    for share, found in ((0.0599, 0), (0.0601, 1)):
        of_pred, of_gt = match_pixels(pred, gt, share)
        assert of_pred.sum() == of_gt.sum() == found
    of_pred, of_gt = match_pixels(pred, gt, 0.07)
    assert of_pred[10, 10] and of_gt[10, 13]


def test_nothing_to_match():
    empty, full = np.zeros((5, 6), bool), np.ones((5, 6), bool)
    for pred, gt, wanted in ((empty, full, 0), (full, empty, 0), (empty, empty, 0), (full, full, 30)):
        matcher = PixelMatcher(gt, 2.0)
        assert matcher.match(pred) == matcher.match_nearest(pred) == wanted
    with pytest.raises(ValueError, match=r'prediction has shape \(6, 5\), label \(5, 6\)'):
        PixelMatcher(full, 2.0).match(full.T)


def test_disc():
    rows, columns = disc(2.0)
    assert len(rows) == 13 and (rows[0], columns[0]) == (0, 0)
    squared = rows**2 + columns**2
    assert (np.diff(squared) >= 0).all() and squared.max() == 4


def test_a_dense_map_takes_no_disproportionate_time():
    """14,000 + 14,000 pixels in less than 20 times what 5,000 + 5,000 take; both are best of three."""

    def seconds(sigma):
        gt, pred = thin_noise((375, 500), 1, sigma), thin_noise((375, 500), 2, sigma)
        best = np.inf
        for _ in range(3):
            start = time.perf_counter()
            matched = match_pixels(pred, gt, 0.0075)[0].sum()
            best = min(best, time.perf_counter() - start)
        return best, int(pred.sum()), int(gt.sum()), int(matched)

    sparse, dense = seconds(13.0), seconds(4.5)
    assert 4000 < sparse[1] < 6500 and 4000 < sparse[2] < 6500, sparse
    assert min(dense[1:3]) > 14000 and dense[3] > 8000, dense
    assert dense[0] < 20 * sparse[0]
