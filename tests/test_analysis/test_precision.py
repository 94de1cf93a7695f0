"""Half precision: predictions close to those of single precision, half the memory, and a table of what it costs."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from torch import nn

from mmmtl.analysis.precision import compare_precisions, precision_table
from mmmtl.apis import Inferencer, init_model
from mmmtl.config import load_config
from mmmtl.errors import ConfigError
from mmmtl.ops.precision import in_dtype, store_in_dtype
from mmmtl.tasks import build_tasks

DECODERS = {
    'PlainDecoder': {},
    'TaskDiffusionDecoder': {'model.decoder': dict(type='TaskDiffusionDecoder', steps=2, _delete_=True)},
    'DiffusionMTLDecoder': {
        'model.decoder': dict(
            type='DiffusionMTLDecoder', denoiser=dict(depth=1, hidden=8), num_blocks=1, _delete_=True
        ),
        'model.neck': dict(type='ConcatFusion', channels=16, _delete_=True),
    },
}


def image(size=(32, 40)):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)


@pytest.mark.parametrize('dtype, close', [('bf16', 0.1), ('fp16', 0.02)])
@pytest.mark.parametrize('decoder', DECODERS)
def test_half_precision_is_near_and_finite(tiny_config, decoder, dtype, close):
    torch.manual_seed(0)
    model = init_model(load_config(tiny_config, DECODERS[decoder]))
    whole = Inferencer(copy.deepcopy(model), dtype='fp32')(image(), panels=False)[0].pred
    half = copy.deepcopy(model)
    found = Inferencer(half, dtype=dtype)(image(), panels=False)[0].pred
    for value in found.values():
        assert value.dtype in (np.float32, np.int64) and np.isfinite(value).all()
    largest = np.abs(whole['depth']).max()
    assert 0 < np.abs(found['depth'] - whole['depth']).max() < close * largest
    assert all(p.dtype == torch.float32 for p in half.parameters())  # a model that was given stays as it is
    stored = copy.deepcopy(model)
    store_in_dtype(stored, dtype)
    linear = [m for m in stored.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    assert linear and all(m.weight.dtype != torch.float32 for m in linear)
    again = Inferencer(stored, dtype=dtype)(image(), panels=False)[0].pred
    assert np.abs(again['depth'] - whole['depth']).max() < close * largest


def test_an_unknown_precision_is_named(tiny_config):
    with pytest.raises(ConfigError, match="dtype must be one of fp32, bf16, fp16, got 'bf61'. Did you mean 'bf16'"):
        init_model(tiny_config, cfg_options={'model.predict_dtype': 'bf61'})
    assert in_dtype(torch.zeros(1), 'fp32').__enter__() is None


def test_what_it_costs_is_measured(trained, tmp_path):
    cfg = load_config(trained.parent / 'tiny.py', {'tasks.boundary.metric': dict(type='BoundaryLoss')})
    found = compare_precisions(cfg, str(trained / 'iter_4.pth'), ['bf16'], str(tmp_path), str(tmp_path / 'table.md'))
    assert list(found) == ['fp32', 'bf16'] and found == json.loads((tmp_path / 'precision.json').read_text())
    assert found['fp32']['depth/RMSE'] != found['bf16']['depth/RMSE']
    assert found['bf16']['depth/RMSE'] == pytest.approx(found['fp32']['depth/RMSE'], rel=0.05)
    assert '| depth/RMSE ↓ |' in (tmp_path / 'table.md').read_text()
    with pytest.raises(ConfigError, match='give a precision to compare with fp32'):
        compare_precisions(cfg, None, ['fp32'], str(tmp_path))


def test_a_loss_is_what_got_worse():
    depth = dict(type='Depth', metric=dict(type='DepthError', protocol='upstream'))
    tasks = build_tasks(dict(depth=depth, semseg=dict(type='SemanticSegmentation', classes=2)))
    found = dict(fp32={'depth/RMSE_upstream': 1.0, 'semseg/mIoU': 0.5})
    found['bf16'] = {'depth/RMSE_upstream': 1.5, 'semseg/mIoU': 0.25}
    found = {name: {f'KITTI/{key}': x for key, x in row.items()} | {'delta_m': 1.0} for name, row in found.items()}
    header, rows = precision_table(found, tasks)
    assert header == ['metric', 'fp32', 'bf16', 'loss'] and [row[-1] for row in rows] == ['+0.5000', '+0.2500']
