"""Suppression against a second derivation, protocols and figures by hand, the official benchmark's output."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from scipy.io import loadmat

from mmmtl.evaluation.functional.boundary import counts as figures
from mmmtl.evaluation.functional.boundary.evaluate import even_thresholds, image_counts, protocol_settings, quantised
from mmmtl.evaluation.functional.boundary.labels import segmentation_boundary
from mmmtl.evaluation.functional.boundary.nms import orientation, suppress, triangle_filter
from mmmtl.evaluation.functional.boundary.thinning import thin


# ---- suppression -----------------------------------------------------------------------------------------------------
def literal_suppress(edges, angle, radius, tolerance, border):
    """One pixel at a time, in the words of the definition."""
    height, width = edges.shape

    def sample(x, y):
        x, y = min(max(x, 0.0), width - 1.001), min(max(y, 0.0), height - 1.001)
        c, r = int(x), int(y)
        a, b = x - c, y - r
        return (
            (1 - a) * (1 - b) * edges[r, c]
            + a * (1 - b) * edges[r, c + 1]
            + (1 - a) * b * edges[r + 1, c]
            + a * b * edges[r + 1, c + 1]
        )

    out = np.zeros_like(edges)
    margins = []
    reach = min(border, width // 2, height // 2)
    for r in range(height):
        for c in range(width):
            across = [
                sample(c + d * math.cos(angle[r, c]), r + d * math.sin(angle[r, c]))
                for d in range(-radius, radius + 1)
                if d
            ]
            margins.append(min(abs(edges[r, c] * tolerance - v) for v in across))
            if all(edges[r, c] * tolerance >= v for v in across):
                fade = 1.0
                for place, size in ((r, height), (c, width)):
                    rim = min(place, size - 1 - place)
                    fade *= rim / reach if rim < reach else 1.0
                out[r, c] = edges[r, c] * fade
    return out, np.array(margins).reshape(edges.shape)


@pytest.mark.parametrize('shape, radius, border', [((19, 24), 1, 5), ((16, 9), 2, 5), ((7, 30), 1, 5), ((2, 2), 1, 5)])
def test_suppression_equals_the_definition(shape, radius, border):
    rng = np.random.default_rng(shape[0])
    edges = cv2.GaussianBlur(rng.random(shape).astype(np.float32), (0, 0), 1.0)
    edges[rng.random(shape) < 0.1] = 0
    wanted, margin = literal_suppress(
        edges.astype(np.float64), orientation(edges).astype(np.float64), radius, 1.01, border
    )
    found = suppress(edges, radius=radius, border=border)
    clear = margin > 1e-5  # where float32 cannot decide otherwise than exact arithmetic
    assert clear.mean() > 0.9
    np.testing.assert_allclose(found[clear], wanted[clear], atol=1e-6)


def test_a_ridge_survives_on_its_crest():
    y, x = np.mgrid[:60, :80]
    for direction in np.linspace(0, np.pi, 9)[:-1] + 0.02:  # on exact rows the formula's sign is zero
        distance = (x - 40) * np.cos(direction) + (y - 30) * np.sin(direction)
        ridge = np.exp(-0.5 * (distance / 2.5) ** 2).astype(np.float32)
        inner = (slice(12, 48), slice(12, 68))
        kept = suppress(ridge)[inner] > 0
        assert np.abs(distance[inner][kept]).max() < 1.5
        assert kept.sum() >= 30  # about one pixel across, all along
        on_crest = np.abs(distance[inner]) < 0.5
        # the formula takes the tangent squared: exact along axes and diagonals, up to 13 degrees off between
        law = np.mod(np.sign(np.sin(2 * direction)) * np.arctan(np.tan(direction) ** 2), np.pi)
        off = np.abs(orientation(ridge)[inner][on_crest] - law)
        assert np.minimum(off, np.pi - off).max() < 0.05


def test_triangle_filter_in_closed_form():
    impulse = np.zeros((21, 21))
    impulse[10, 10] = 1
    weights = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1]) / 25
    np.testing.assert_allclose(triangle_filter(impulse, 4)[6:15, 6:15], np.outer(weights, weights), atol=1e-15)
    np.testing.assert_allclose(triangle_filter(np.full((9, 7), 0.3), 4), 0.3)  # mirrored edges keep a constant
    slope = np.tile(np.arange(30.0), (12, 1))
    np.testing.assert_allclose(triangle_filter(slope, 4)[:, 4:-4], slope[:, 4:-4])
    corner = np.zeros((12, 12))
    corner[0, 0] = 1  # its mirror image stands at -1, which adds the next weight
    np.testing.assert_allclose(triangle_filter(corner, 4)[0, 0], ((5 + 4) / 25) ** 2)


def test_suppression_needs_two_pixels():
    with pytest.raises(ValueError, match='at least 2 x 2 pixels, got 1 x 9'):
        suppress(np.zeros((1, 9)))


# ---- labels ----------------------------------------------------------------------------------------------------------
def test_segmentation_boundary_equals_a_loop():
    segments = np.random.default_rng(1).integers(0, 3, (9, 11))
    wanted = np.zeros(segments.shape, bool)
    for r in range(9):
        for c in range(11):
            for a, b in ((r, c + 1), (r + 1, c), (r + 1, c + 1)):
                if a < 9 and b < 11 and segments[a, b] != segments[r, c]:
                    wanted[r, c] = True
    np.testing.assert_array_equal(segmentation_boundary(segments), wanted)


# ---- counts of one image ---------------------------------------------------------------------------------------------
def test_quantised_rounds_down():
    assert quantised(np.array([0.0, 0.5, 0.99999, 1.0, np.nan])).tolist() == [0, 127, 254, 255, 0]
    given = np.array([3, 200], np.uint8)
    assert quantised(given) is given


def test_protocols():
    atrc, mti, bsds = (protocol_settings(name) for name in ('atrc', 'mti', 'bsds'))
    assert len(atrc.thresholds) == 101 and atrc.thresholds[:3] == (0.001, 0.01, 0.02) and atrc.thresholds[-1] == 0.999
    assert atrc.nms and not atrc.inclusive and atrc.thin_label
    assert len(mti.thresholds) == 99 and not mti.nms and mti.inclusive and mti.thin_label
    assert len(bsds.thresholds) == 99 and not bsds.nms and bsds.inclusive and not bsds.thin_label and bsds.interpolate
    np.testing.assert_allclose(bsds.thresholds, mti.thresholds, atol=1e-15)
    assert protocol_settings('bsds', thresholds=[0.7, 0.2], nms=True).thresholds == (0.2, 0.7)
    for wrong in (dict(protocol='seism'), dict(max_dist=0.0), dict(thresholds=[]), dict(thresholds=[0.0, 0.5])):
        with pytest.raises(ValueError):
            protocol_settings(**wrong)


def test_even_thresholds_round_like_the_benchmark():
    assert even_thresholds(1) == (0.5,)
    assert not 85 / 255 >= even_thresholds(5)[1]  # a hair above 1/3
    np.testing.assert_allclose(even_thresholds(5), np.arange(1, 6) / 6, rtol=1e-15)
    with pytest.raises(ValueError, match='at least one threshold, got 0'):
        even_thresholds(0)


def scene(height=60, width=80):
    """A label of two lines; the prediction finds one, shifted, and invents another."""
    gt = np.zeros((height, width), bool)
    gt[20, 10:70] = gt[40, 10:70] = True
    probability = np.zeros((height, width), np.float32)
    probability[21, 10:70] = 0.8
    probability[55, 10:40] = 0.4
    return probability, gt


@pytest.mark.parametrize('protocol', ['mti', 'bsds'])
def test_counts_by_hand(protocol):
    probability, gt = scene()
    settings = protocol_settings(protocol, max_dist=0.0125, thresholds=[0.3, 0.5, 0.9])  # 1.25 pixels
    wanted = [[60, 60, 0], [120, 120, 120], [60, 60, 0], [90, 60, 0]]
    assert image_counts(probability, [gt], settings).tolist() == wanted


def test_several_annotators_by_hand():
    probability, gt = scene()
    other = np.zeros_like(gt)
    other[55, 10:40] = True  # this annotator saw what the first did not
    settings = protocol_settings('bsds', max_dist=0.0125, thresholds=[0.3])
    assert image_counts(probability, [gt, other], settings)[:, 0].tolist() == [60 + 30, 120 + 30, 90, 90]


def test_a_sweep_equals_every_threshold_alone():
    rng = np.random.default_rng(0)
    field = cv2.GaussianBlur(rng.standard_normal((48, 64)).astype(np.float32), (0, 0), 3)
    gt = thin(segmentation_boundary(field > 0))
    noise = cv2.GaussianBlur(rng.random((48, 64)).astype(np.float32), (0, 0), 1.5)
    probability = np.clip(cv2.GaussianBlur(gt.astype(np.float32), (0, 0), 1.5) + noise - 0.4, 0, 1)
    for protocol in ('atrc', 'mti'):
        settings = protocol_settings(protocol, max_dist=0.03)
        together = image_counts(probability, [gt], settings)
        assert len(np.unique(together[0])) > 5
        for k in range(0, len(settings.thresholds), 7):
            alone = protocol_settings(protocol, max_dist=0.03, thresholds=[settings.thresholds[k]])
            np.testing.assert_array_equal(image_counts(probability, [gt], alone)[:, 0], together[:, k])


def test_sizes_must_agree():
    with pytest.raises(ValueError, match=r'prediction is \(60, 80\), label \(80, 60\)'):
        image_counts(scene()[0], [scene()[1].T], protocol_settings())


def test_empty_and_full_maps():
    settings = protocol_settings('mti', thresholds=[0.5])
    empty, full = np.zeros((30, 40), np.float32), np.ones((30, 40), np.float32)
    line = np.zeros((30, 40), bool)
    line[10] = True
    assert image_counts(empty, [line], settings)[:, 0].tolist() == [0, 40, 0, 0]
    assert image_counts(full, [line & False], settings)[:2, 0].tolist() == [0, 0]
    assert image_counts(empty, [line & False], settings).sum() == 0
    assert image_counts(full, [line], settings)[3, 0] == thin(full > 0).sum()


# ---- figures ---------------------------------------------------------------------------------------------------------
def test_precision_and_recall_of_nothing():
    nothing_predicted, nothing_labelled, nothing = [0, 7, 0, 0], [0, 0, 0, 7], [0, 0, 0, 0]
    for counts, wanted in ((nothing_predicted, (1.0, 0.0)), (nothing_labelled, (0.0, 1.0)), (nothing, (0.0, 1.0))):
        precision, recall = figures.precision_recall(np.array(counts)[:, None])
        assert (precision[0], recall[0]) == wanted
        assert figures.f_curve(precision, recall)[0] == 0.0


def test_best_f_and_average_precision_by_hand():
    counts = np.array([[80, 50, 20], [100, 100, 100], [80, 50, 20], [160, 60, 20]])
    precision, recall = np.array([0.5, 5 / 6, 1.0]), np.array([0.8, 0.5, 0.2])
    curve = 2 * precision * recall / (precision + recall)
    index, best = figures.best_f(counts)
    assert index == 1 and best == pytest.approx(curve.max())
    assert figures.best_point(counts, [0.2, 0.5, 0.8]) == pytest.approx((0.5, 0.5, 5 / 6, curve.max()))
    # between the first two thresholds the F of the straight line is larger
    line = [(p, r) for t in np.linspace(0, 1, 100) for p, r in [((1 - t) * 0.5 + t * 5 / 6, (1 - t) * 0.8 + t * 0.5)]]
    assert figures.best_point(counts, [0.2, 0.5, 0.8], interpolate=True)[3] == pytest.approx(
        max(2 * p * r / (p + r) for p, r in line)
    )
    sampled = [
        np.interp(r, recall[::-1], precision[::-1]) if 0.2 - 1e-9 <= r <= 0.8 + 1e-9 else 0
        for r in np.arange(101) / 100
    ]
    assert figures.average_precision(counts) == pytest.approx(sum(sampled) / 100, abs=1e-3)
    assert figures.average_precision(counts[:, :1]) == 0.0


# ---- the official benchmark ------------------------------------------------------------------------------------------
def test_official_output_of_the_berkeley_benchmark(shared_dir):
    folder = shared_dir / 'data' / 'boundary_reference' / 'BSDS500_bench'
    settings = protocol_settings('bsds', thresholds=even_thresholds(5))
    total, best = np.zeros((4, 5), np.int64), np.zeros((4, 1), np.int64)
    official = np.loadtxt(folder / 'test_2' / 'eval_bdry_img.txt')
    for row, path in zip(official, sorted((folder / 'png').glob('*.png'), key=lambda p: p.stem)):
        labels = [g['Boundaries'][0, 0] for g in loadmat(folder / 'groundTruth' / f'{path.stem}.mat')['groundTruth'][0]]
        counts = image_counts(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), labels, settings)
        index = figures.best_f(counts)[0]
        assert settings.thresholds[index] == pytest.approx(row[1], abs=1e-6)
        precision, recall = (v[index] for v in figures.precision_recall(counts))
        assert (recall, precision) == pytest.approx(tuple(row[2:4]), abs=2e-3)
        total, best = total + counts, best + counts[:, [index]]
    precision, recall = figures.precision_recall(total)
    table = np.stack([recall, precision, figures.f_curve(precision, recall)], 1)
    np.testing.assert_allclose(table, np.loadtxt(folder / 'test_2' / 'eval_bdry_thr.txt')[:, 1:], atol=1e-3)
    summary = np.loadtxt(folder / 'test_2' / 'eval_bdry.txt')
    assert figures.best_point(total, settings.thresholds, interpolate=True) == pytest.approx(
        tuple(summary[:4]), abs=1e-3
    )
    precision, recall = figures.precision_recall(best)
    assert (recall[0], precision[0]) == pytest.approx(tuple(summary[4:6]), abs=1e-3)
    assert figures.best_f(best)[1] == pytest.approx(summary[6], abs=1e-3)
    assert figures.average_precision(total) == pytest.approx(summary[7], abs=1e-3)
