"""Multiply-accumulates of the compared methods' published networks, executed here and in the published data flow."""

from __future__ import annotations

import re

import pytest

from mmmtl.analysis.costs import costs_of
from mmmtl.analysis.published import published_line
from mmmtl.config import load_config
from mmmtl.models.sizes import input_size

PUBLISHED = {
    # a level's convolution that no later layer reads is not run here: 5.44 and 5.35 G
    'invpt/vitl_pascal': (619.91 - 5.44, 672.38 - 5.44),
    'invpt/vitl_nyud': (551.33 - 5.35, 601.88 - 5.35),
    'taskprompter/vitl_pascal': (444.29, 496.58),
    'taskprompter/vitb_pascal': (1133.76, 1153.37),
    'taskprompter/vitl_nyud': (789.14, 839.67),
    'atrc/hrnet18_nyud': (24.28, 25.05),
    # every level meets its part of the heads' first layer before it is enlarged: 270 channels to as many
    'mtinet/hrnet18_pascal': (30.31 - 5 * 270 * 128**2 * (270 - 33.75) / 1e9,) * 2,
    'mtinet/hrnet18_nyud': (22.88 - 2 * 270 * 120 * 160 * (270 - 33.75) / 1e9,) * 2,
}
"""Billions in convolutions and linear layers, and with attention."""


@pytest.mark.parametrize('name', PUBLISHED)
def test_counts_of_published_networks(root_dir, name):
    costs = costs_of(str(root_dir / 'configs' / f'{name}.py'))
    layers, whole = PUBLISHED[name]
    assert costs.layers / 1e9 == pytest.approx(layers, rel=5e-3)
    assert (costs.layers + costs.products) / 1e9 == pytest.approx(whole, rel=5e-3)


FLOWS = {
    'invpt/vitl_pascal': (619.91, 672.38),
    'tsp/vitl_pascal': (1903.1, 2163.4),
    'tsp/vitl_nyud': (1498.9, 1700.6),
    'mlore/vitl_pascal': (561.8, 613.3),
    'mlore/vitb_pascal': (590.3, 609.6),
    'mlore/vits_pascal': (67.5, 77.2),
    'mlore/vitl_nyud': (876.3, 926.2),
    'mtinet/hrnet18_pascal': (30.31, 30.31),
    'mtinet/hrnet18_nyud': (22.88, 22.88),
}
"""The same of the published programs."""


@pytest.mark.parametrize(
    'name', [n if n == 'mlore/vits_pascal' else pytest.param(n, marks=pytest.mark.slow) for n in FLOWS]
)
def test_the_published_data_flow_is_stated(root_dir, name):
    cfg = load_config(root_dir / 'configs' / f'{name}.py')
    line = published_line(cfg, input_size(cfg))
    found = [float(number) for number in re.findall(r'([\d.]+) G ', line + ' ')]
    assert found == pytest.approx(FLOWS[name], rel=5e-3), line


def test_none_is_stated_of_a_reconstruction(root_dir):
    cfg = load_config(root_dir / 'configs/invpt/r18_pascal_recon.py')
    assert published_line(cfg, (512, 512)) is None
