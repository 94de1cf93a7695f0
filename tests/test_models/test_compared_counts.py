"""Multiply-accumulates of the compared methods' published networks."""

from __future__ import annotations

import pytest

from mmmtl.analysis.costs import costs_of

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
