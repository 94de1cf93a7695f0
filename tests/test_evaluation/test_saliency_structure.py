"""S-measure, E-measure and weighted F-measure against slow derivations, pixel by pixel from the papers' formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmmtl.evaluation.functional.saliency import f_measure, stretch
from mmmtl.evaluation.functional.saliency_structure import e_measure, s_measure, weighted_f
from mmmtl.evaluation.metrics import SaliencyMeasure


def case(seed, size=(17, 23)):
    """A blurred object with a noisy prediction, 8 bits."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    centre = rng.uniform(0.3, 0.7, 2) * size
    salient = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < rng.uniform(3, 7) ** 2
    value = stretch(np.floor(255 * (0.5 * salient + 0.5 * rng.random(size))) / 255)
    return value, salient


def slow_s(value, salient):
    """ICCV 2017, equations 1 to 8."""
    height, width = salient.shape
    inside = [value[i, j] for i in range(height) for j in range(width) if salient[i, j]]
    outside = [1 - value[i, j] for i in range(height) for j in range(width) if not salient[i, j]]
    share = len(inside) / (height * width)

    def mean(numbers):
        return math.fsum(numbers) / len(numbers)

    def of_object(numbers):
        spread = math.sqrt(math.fsum((v - mean(numbers)) ** 2 for v in numbers) / (len(numbers) - 1))
        return 2 * mean(numbers) / (mean(numbers) ** 2 + 1 + spread)

    places = [(i, j) for i in range(height) for j in range(width) if salient[i, j]]
    row, column = round(mean([i for i, _ in places])) + 1, round(mean([j for _, j in places])) + 1
    of_region = 0.0
    for upper in (True, False):
        for left in (True, False):
            part = [(i, j) for i in range(height) for j in range(width) if (i < row) == upper and (j < column) == left]
            x, y = [value[p] for p in part], [float(salient[p]) for p in part]
            var_x = math.fsum((v - mean(x)) ** 2 for v in x) / (len(part) - 1)
            var_y = math.fsum((v - mean(y)) ** 2 for v in y) / (len(part) - 1)
            cov = math.fsum((v - mean(x)) * (w - mean(y)) for v, w in zip(x, y)) / (len(part) - 1)
            luminance = 2 * mean(x) * mean(y) / (mean(x) ** 2 + mean(y) ** 2)
            contrast_and_structure = 2 * cov / (var_x + var_y) if var_x + var_y else 0.0
            of_region += len(part) / (height * width) * luminance * contrast_and_structure
    return 0.5 * (share * of_object(inside) + (1 - share) * of_object(outside)) + 0.5 * of_region


def slow_e(binary, salient):
    """IJCAI 2018, equations 1 to 5, over n - 1 pixels as the published program divides."""
    f, g = binary - binary.mean(), salient - salient.mean()
    total = 0.0
    for a, b in zip(f.ravel(), g.ravel()):
        total += (1 + 2 * a * b / (a * a + b * b)) ** 2 / 4
    return total / (f.size - 1)


def slow_weighted_f(value, salient):
    """CVPR 2014: every error spread over its neighbours of the object, or weighted by its distance from it."""
    height, width = salient.shape
    places = [(i, j) for i in range(height) for j in range(width) if salient[i, j]]
    error = np.abs(value - salient)
    near = {}
    for i in range(height):
        for j in range(width):
            far = [math.hypot(i - a, j - b) for a, b in places]
            near[i, j] = (min(far), [p for p, d in zip(places, far) if d == min(far)])
    ties = [p for p, (_, found) in near.items() if len({error[q] for q in found}) > 1]
    kernel = np.array([[math.exp(-(i * i + j * j) / 50) for j in range(-3, 4)] for i in range(-3, 4)])
    kernel /= kernel.sum()
    hit, wrong, missed = 0.0, 0.0, 0.0
    for i in range(height):
        for j in range(width):
            if not salient[i, j]:
                wrong += error[i, j] * (2 - math.exp(math.log(0.5) / 5 * near[i, j][0]))
                continue
            around = 0.0
            for a in range(-3, 4):
                for b in range(-3, 4):
                    if 0 <= i + a < height and 0 <= j + b < width:
                        around += kernel[a + 3, b + 3] * error[near[i + a, j + b][1][0]]
            least = min(error[i, j], around)
            hit, missed = hit + 1 - least, missed + least
    precision, recall = hit / (hit + wrong), 1 - missed / len(places)
    return 2 * precision * recall / (precision + recall), len(ties)


@pytest.mark.parametrize('seed', range(4))
def test_s_measure_by_its_formula(seed):
    value, salient = case(seed)
    assert s_measure(value, salient, np.ones_like(salient)) == pytest.approx(slow_s(value, salient), abs=1e-12)


@pytest.mark.parametrize('seed', range(4))
def test_e_measure_by_its_formula(seed):
    value, salient = case(seed)
    binary = value > 0.5
    found = e_measure((binary & salient).sum(), binary.sum(), salient.sum(), salient.size)
    assert found == pytest.approx(slow_e(binary, salient), abs=1e-12)
    assert e_measure(0, 5, 0, 20) == pytest.approx(15 / 19) and e_measure(5, 5, 20, 20) == pytest.approx(5 / 19)


@pytest.mark.parametrize('seed', range(4))
def test_weighted_f_by_its_formula(seed):
    """Of several object pixels at the same distance any may lend its error: the object's rim gets one here."""
    value, salient = case(seed, (15, 19))
    rim = salient & ~(
        np.roll(salient, 1, 0) & np.roll(salient, -1, 0) & np.roll(salient, 1, 1) & np.roll(salient, -1, 1)
    )
    value = np.where(rim, 0.75, value)
    wanted, ties = slow_weighted_f(value, salient)
    assert ties == 0
    assert weighted_f(value, salient, np.ones_like(salient)) == pytest.approx(wanted, abs=1e-12)


def test_perfect_and_empty_maps():
    _, salient = case(0)
    every = np.ones_like(salient)
    assert s_measure(salient * 1.0, salient, every) == pytest.approx(1.0)
    assert weighted_f(salient * 1.0, salient, every) == pytest.approx(1.0)
    nothing = np.zeros_like(salient)
    assert s_measure(np.full(salient.shape, 0.25), nothing, every) == 0.75
    assert s_measure(np.full(salient.shape, 0.25), every, every) == 0.25
    assert weighted_f(salient * 1.0, nothing, every) == 0.0
    corner = nothing.copy()
    corner[-1, -1] = True  # three of the four regions about its centre are empty, and one pixel has no deviation
    assert s_measure(corner * 1.0, corner, every) == pytest.approx(1.0)


def test_pixels_without_a_label_do_not_count():
    """What is predicted there changes nothing, and a map with a border of them is the map without the border."""
    value, salient = case(1)
    wide, label, known = (np.pad(x, 6) for x in (value, salient, np.ones_like(salient)))
    for measure in (s_measure, weighted_f):
        alone = measure(value, salient, np.ones_like(salient))
        assert measure(np.where(known, wide, 0.9), label, known) == pytest.approx(alone, abs=1e-2)
        noise = np.where(known, wide, np.random.default_rng(0).random(wide.shape))
        if measure is s_measure:
            assert measure(noise, label, known) == pytest.approx(alone, abs=1e-12)


def test_the_metric_averages_curves_over_images():
    metric, states, slow = SaliencyMeasure(protocol='toolkit'), [], []
    for seed in range(3):
        value, salient = case(seed)
        states.append(metric.measure(value[None].astype(np.float32), salient.astype(np.int64)))
        value = stretch(value.astype(np.float32))
        levels = [np.floor(value * 255) >= t for t in range(256)]
        e_curve = [slow_e(b, salient) for b in levels[1:]]
        f_curve = [
            float(f_measure((b & salient).sum() / max(b.sum(), 1), (b & salient).sum() / salient.sum())) for b in levels
        ]
        adaptive = value >= 2 * value.mean()
        slow.append((e_curve, f_curve, slow_e(adaptive, salient), slow_s(value, salient)))
    total = {k: sum(s[k] for s in states) for k in states[0]}
    found = metric.compute(total)
    assert set(found) == set(metric.reported)
    e_curve, f_curve = (np.mean([s[i] for s in slow], axis=0) for i in (0, 1))
    assert found['maxE_toolkit'] == pytest.approx(e_curve.max(), abs=1e-6)
    assert found['meanF_toolkit'] == pytest.approx(f_curve.mean(), abs=1e-6)
    assert found['maxF_toolkit'] == pytest.approx(f_curve.max(), abs=1e-6)
    assert found['adpE_toolkit'] == pytest.approx(np.mean([s[2] for s in slow]), abs=1e-6)
    assert found['Sm_toolkit'] == pytest.approx(np.mean([s[3] for s in slow]), abs=1e-6)


def test_a_diverged_network_has_no_likeness():
    value, salient = case(0)
    value[0, 0] = np.nan
    metric = SaliencyMeasure(protocol='toolkit')
    found = metric.compute(metric.measure(value[None], salient.astype(np.int64)))
    assert found['maxF_toolkit'] == 0.0 == found['wF_toolkit']
    assert all(math.isnan(found[f'{n}_toolkit']) for n in ('Sm', 'maxE', 'meanE', 'adpE', 'MAE'))
    empty = metric.measure(value[None], np.full(salient.shape, 255))
    assert metric.compute(empty) == {}
