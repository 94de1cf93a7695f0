"""Parameters and multiply-accumulates of the DiffusionMTL paper's tables."""

from __future__ import annotations

import pytest

from benchmarks.reference.published_counts import count_published
from mmmtl.config import load_config
from mmmtl.errors import ConfigError


@pytest.mark.parametrize(
    ('config', 'parameters', 'operations'),
    [
        ('diffusionmtl/r18_pascal_feature', 132_913_284, 675.8),
        ('diffusionmtl/r18_pascal_prediction', 132_913_284, 628.1),
        ('baselines/r18_pascal', 157_237_346, 607.8),
        ('diffusionmtl/r50_pascal_feature', 158_515_844, 742.1),
        ('diffusionmtl/r50_pascal_prediction', 158_515_844, 694.4),
    ],
)
def test_counts_of_the_tables(root_dir, config, parameters, operations):
    found = count_published(load_config(str(root_dir / 'configs' / f'{config}.py')), (512, 512))
    assert found[0] == parameters
    assert round(found[1] / 1e9, 1) == operations


def test_other_backbones_have_no_published_flow(root_dir):
    with pytest.raises(ConfigError, match='was published for residual networks'):
        count_published(load_config(str(root_dir / 'configs/diffusionmtl/vitl_pascal_feature.py')))
