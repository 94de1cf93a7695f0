"""One checkpoint under several noise seeds: what depends on the noise differs, what does not is the same."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from mmengine.config import Config

from mmmtl.analysis.noise_seeds import add_boundary_losses, compare_noise_seeds
from mmmtl.config import load_config
from mmmtl.errors import ConfigError
from mmmtl.evaluation.metrics import BoundaryLoss, BoundaryMeasure


def test_seeds_give_mean_and_spread_of_every_metric(tmp_path, tiny_config, capsys):
    options = {'model.decoder': dict(type='TaskDiffusionDecoder', steps=2, upsample=2, _delete_=True)}
    cfg = load_config(tiny_config, options)
    found = compare_noise_seeds(cfg, None, [0, 7], str(tmp_path / 'work'), losses_only=True)
    assert {'boundary/loss', 'boundary/loss_upstream', 'depth/RMSE', 'semseg/mIoU'} <= set(found)
    assert 'boundary/odsF' not in found
    loss = found['boundary/loss_upstream']
    first, second = loss['seeds']['0'], loss['seeds']['7']
    assert first != second
    assert loss['mean'] == pytest.approx((first + second) / 2) and loss['spread'] == pytest.approx(abs(first - second))
    assert json.loads((tmp_path / 'work/noise_seeds.json').read_text()) == found
    assert 'spread' in capsys.readouterr().out


@pytest.mark.parametrize('seeds', [[1], [1, 1]])
def test_one_seed_has_no_spread(tmp_path, tiny_config, seeds):
    with pytest.raises(ConfigError, match='two different seeds'):
        compare_noise_seeds(load_config(tiny_config), None, seeds, str(tmp_path))


def test_losses_of_data_sets_that_are_joined():
    data = [
        dict(tasks=dict(boundary=dict(type='Boundary')), type='A'),
        dict(tasks=dict(depth=dict(type='Depth')), type='B'),
    ]
    cfg = Config(dict(test_dataloader=dict(dataset=dict(type='ConcatDataset', datasets=data))))
    add_boundary_losses(cfg)
    joined = cfg.test_dataloader.dataset.datasets
    assert [m['type'] for m in joined[0].tasks.boundary.metric] == ['BoundaryMeasure', 'BoundaryLoss', 'BoundaryLoss']
    assert 'metric' not in joined[1].tasks.depth
    joined[0].tasks.boundary.metric = [dict(type=BoundaryMeasure)]  # named by its class
    add_boundary_losses(cfg, losses_only=True)
    assert [m['type'] for m in joined[0].tasks.boundary.metric] == ['BoundaryLoss', 'BoundaryLoss']


def test_boundary_loss_is_the_weighted_cross_entropy():
    pred, gt = np.array([[[0.9, 0.2], [0.5, 0.0]]], np.float32), np.array([[1, 0], [255, 1]])
    metric = BoundaryLoss(positive_weight=0.75)
    tiny = float(np.finfo(np.float32).tiny)
    wanted = -(0.75 * math.log(np.float32(0.9)) + 0.25 * math.log(1 - np.float32(0.2)) + 0.75 * math.log(tiny)) / 3
    assert metric.compute(metric.measure(pred, gt))['loss'] == pytest.approx(wanted, rel=1e-6)
    metric = BoundaryLoss(positive_weight=0.75, protocol='upstream')

    def softplus(x):
        return math.log1p(math.exp(x))

    wanted = (0.75 * softplus(-0.9) + 0.25 * softplus(0.2) + 0.75 * softplus(0.0)) / 3
    assert metric.compute(metric.measure(pred, gt))['loss_upstream'] == pytest.approx(wanted, rel=1e-6)
    assert metric.compute(metric.measure(pred, np.full((2, 2), 255))) == {}
