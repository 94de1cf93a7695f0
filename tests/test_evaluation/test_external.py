"""A task's metric may come from another package: mmengine's contract."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.evaluator import BaseMetric

from mmmtl.errors import ConfigError
from mmmtl.evaluation import DepthError, MultiTaskMetric, Records
from mmmtl.registry import METRICS
from mmmtl.tasks import Depth


@METRICS.register_module(force=True)
class MeanGap(BaseMetric):
    """Keeps a tuple of an array and a number per image."""

    def process(self, data_batch, data_samples):
        for sample in data_samples:
            gap = (sample['pred'] - sample['gt']).abs()
            self.results.append((gap.numpy().mean(0), float(gap.numel())))

    def compute_metrics(self, results):
        return {'gap': sum(float(g.mean()) * n for g, n in results) / sum(n for _, n in results)}


def evaluate(metric, records=None):
    whole = MultiTaskMetric(records=records)
    whole.dataset_meta = dict(tasks={'depth': Depth(metric=metric)})
    rng = np.random.default_rng(0)
    maps = {str(i): rng.random((2, 1, 4, 5 + i)).astype(np.float32) for i in range(3)}
    for name in ('2', '0', '1'):
        pred, gt = map(torch.from_numpy, maps[name])
        whole.process({}, [dict(sample_id=name, pred={'depth': pred}, gt={'depth': gt})])
    wanted = np.concatenate([np.abs(a - b).ravel() for a, b in maps.values()]).mean()
    return whole, whole.evaluate(3), wanted


@pytest.mark.parametrize('bare', [True, False])
def test_a_metric_of_mmengines_contract(bare, tmp_path):
    config = dict(type='MeanGap')
    metric = config if bare else dict(type='ExternalMetric', metric=config, greater_is_better={'gap': False})
    path = str(tmp_path / 'records.npz')
    whole, found, wanted = evaluate([dict(type='DepthError'), metric], path)
    assert found['depth/gap'] == pytest.approx(wanted, rel=1e-6)
    assert Records.load(path).metrics() == {k: v for k, v in found.items() if k != 'depth/gap'}, 'of the others'
    evaluate([dict(type=DepthError), dict(type='ExternalMetric', metric=MeanGap())], path)  # a class, and an object
    assert Records.load(path).metrics()['depth/RMSE'] == found['depth/RMSE']
    whole, _, _ = evaluate(metric)
    assert whole.greater_is_better == ({} if bare else {'depth/gap': False})


def test_anything_else_is_refused():
    METRICS.register_module(name='NoMetric', module=dict, force=True) if 'NoMetric' not in METRICS else None
    with pytest.raises(ConfigError, match='neither a TaskMetric nor'):
        evaluate(dict(type='NoMetric'))
