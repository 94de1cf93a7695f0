"""Parameters and multiply-accumulates of the DiffusionMTL paper's tables."""

from __future__ import annotations

import pytest
import torch

from benchmarks.reference.published_counts import count_published
from mmmtl.apis.model import build_model, forget_pretrained
from mmmtl.config import load_config
from mmmtl.errors import ConfigError


@pytest.mark.parametrize(
    ('config', 'options', 'parameters', 'operations'),
    [
        ('diffusionmtl/r18_pascal', {}, 132_913_284, 675.8),
        ('diffusionmtl/r18_pascal', {'mode': 'prediction'}, 132_913_284, 628.1),
        ('baselines/r18_pascal', {}, 157_237_346, 607.8),
        ('diffusionmtl/r18_pascal', {'backbone': 'resnet50'}, 158_515_844, 742.1),
        ('diffusionmtl/r18_pascal', {'backbone': 'resnet50', 'mode': 'prediction'}, 158_515_844, 694.4),
    ],
)
def test_counts_of_the_tables(root_dir, config, options, parameters, operations):
    found = count_published(load_config(str(root_dir / 'configs' / f'{config}.py'), options), (512, 512))
    assert found[0] == parameters
    assert round(found[1] / 1e9, 1) == operations


def test_other_backbones_have_no_published_flow(root_dir):
    with pytest.raises(ConfigError, match='was published for residual networks'):
        count_published(load_config(str(root_dir / 'configs/diffusionmtl/vitl_pascal.py')))


def test_the_width_of_vit_l_meets_the_table_of_taskdiffusion(root_dir):
    cfg = load_config(root_dir / 'configs/diffusionmtl/vitl_pascal.py')
    forget_pretrained(cfg.model)
    with torch.device('meta'):
        model = build_model(cfg, initialize=False)
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2) == 381.35
