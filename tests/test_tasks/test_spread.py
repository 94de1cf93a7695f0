"""Mean and spread of several predictions, as each task measures them."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mmmtl.models.ensemble import Ensemble
from mmmtl.tasks import ContinuousTask, build_tasks
from mmmtl.tasks.spread import circular_deviation, entropy_share


def mean_and_spread(task, raws):
    """As an ensemble takes them, in two passes."""
    said = torch.stack([task.to_average(raw[None])[0].double() for raw in raws])
    mean = said.mean(0)
    variance = ((said - mean) ** 2).sum(1).mean(0)
    return task.predict(task.from_average(mean[None]))[0], task.spread(mean, variance[None])


def test_classes_by_entropy():
    task = build_tasks(dict(semseg=dict(type='SemanticSegmentation', classes=3)))['semseg']
    sure, other = torch.tensor([40.0, 0, 0]).reshape(3, 1, 1), torch.tensor([0.0, 40, 0]).reshape(3, 1, 1)
    assert float(mean_and_spread(task, [sure, sure])[1]) == pytest.approx(0, abs=1e-9)
    assert float(mean_and_spread(task, [sure, other])[1]) == pytest.approx(math.log(2) / math.log(3))
    assert int(mean_and_spread(task, [sure, sure, other])[0]) == 0
    flat = torch.full((4, 2, 2), 0.25)
    torch.testing.assert_close(entropy_share(flat), torch.ones(1, 2, 2))
    torch.testing.assert_close(entropy_share(torch.full((1, 2, 2), 0.5)), torch.ones(1, 2, 2))


def test_two_classes_alike_from_one_logit_and_from_two():
    one, two = (build_tasks(dict(s=dict(type='Saliency', out_channels=n)))['s'] for n in (1, 2))
    logits = [torch.tensor([[[x]]]) for x in (-1.0, 0.5, 3.0)]
    pairs = [torch.cat([torch.zeros_like(x), x]) for x in logits]
    for a, b in zip(mean_and_spread(one, logits), mean_and_spread(two, pairs)):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_directions_by_the_circle():
    task = build_tasks(dict(normals=dict(type='SurfaceNormals')))['normals']
    angles = torch.tensor([-3.0, 3.0]).deg2rad()
    raws = [torch.stack([a.sin(), 0 * a, a.cos()]).reshape(3, 1, 1) * 7 for a in angles]  # any length
    mean, spread = mean_and_spread(task, raws)
    torch.testing.assert_close(mean.flatten(), torch.tensor([0.0, 0, 1]).double(), atol=1e-6, rtol=0)
    assert float(spread) == pytest.approx(3.0, abs=0.01) and task.spread_unit == '°'
    assert (
        float(circular_deviation(torch.ones(1, 1, 1))) == 180 and float(circular_deviation(torch.zeros(1, 1, 1))) == 0
    )


def test_directions_that_hardly_differ_are_told_apart():
    """The length of the mean of such unit vectors is 1 to every digit of single precision."""
    tiny = 1e-5
    raws = [torch.tensor([s * tiny, 0.0, 1.0]).reshape(3, 1, 1) for s in (-1.0, 1.0)]
    task = build_tasks(dict(normals=dict(type='SurfaceNormals')))['normals']
    ensemble = Ensemble(
        SimpleNamespace(
            tasks=dict(normals=task),
            to_average=lambda t, v, s: t.to_average(v),
            from_average=lambda t, m: t.predict(m[None])[0],
        )
    )
    for raw in raws:
        ensemble(task, raw[None], (1, 1))
    assert float(ensemble.spreads()['normals']) == pytest.approx(math.degrees(tiny), rel=1e-2)


def test_flows_as_vectors():
    task = build_tasks(dict(flow=dict(type='OpticalFlow')))['flow']
    raws = [torch.tensor(v).reshape(2, 1, 1) for v in ([3.0, 4.0], [-3.0, -4.0])]
    mean, spread = mean_and_spread(task, raws)
    assert float(mean.abs().max()) == 0 and task.spread_unit == 'px'
    assert float(spread) == pytest.approx(5)


def test_a_task_of_angles_says_how_they_are_averaged():
    """What a package of one's own does for angles, which wrap around: 350° and 10° are 20° apart and their mean is 0°."""

    class Heading(ContinuousTask):
        spread_unit = '°'

        def default_metric(self):
            return dict(type='ImageError')

        def to_average(self, logits):
            angle = torch.deg2rad(logits)
            return torch.cat([angle.cos(), angle.sin()], 1)

        def from_average(self, mean):
            return torch.rad2deg(torch.atan2(mean[:, 1:], mean[:, :1])) % 360

        def spread(self, mean, variance):
            return circular_deviation(variance)

    mean, spread = mean_and_spread(Heading('heading'), [torch.full((1, 1, 1), a) for a in (350.0, 10.0)])
    assert min(float(mean), 360 - float(mean)) < 1e-4
    assert float(spread) == pytest.approx(math.degrees(math.sqrt(-2 * math.log(math.cos(math.radians(10))))), abs=1e-3)
    assert np.isfinite(float(spread))
