"""Explanations are drawn where their labels say, in colours that mean the same within a row."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.structures import Explanation
from mmmtl.tasks import build_tasks
from mmmtl.visualization import draw_explanation, principal_colours

PHOTO = np.full((24, 32, 3), (90, 160, 60), np.uint8)


def test_principal_colours_find_the_directions_of_spread():
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.normal(size=(8, 8)))[0]
    scores = rng.normal(size=(3, 400)) * np.array([[9.0], [4.0], [1.5]])
    noise = 0.01 * rng.normal(size=(5, 400))
    maps = (basis @ np.concatenate([scores, noise])).reshape(8, 20, 20)
    colours = principal_colours([maps])[0]
    assert colours.shape == (20, 20, 3) and colours.dtype == np.uint8
    for channel, score in enumerate(scores):
        assert abs(np.corrcoef(colours[..., channel].ravel(), score)[0, 1]) > 0.98


def test_a_small_map_is_as_colourful_as_a_large_one():
    maps = np.random.default_rng(1).normal(size=(5, 16, 16))
    large, small = principal_colours([maps, maps * 1e-3 + 7])
    np.testing.assert_allclose(large.astype(int), small.astype(int), atol=1)


def test_one_and_two_channels_are_drawn_too():
    for channels in (1, 2):
        assert principal_colours([np.random.default_rng(0).normal(size=(channels, 4, 5))])[0].shape == (4, 5, 3)


def test_a_share_fills_the_ramp_and_every_cell_is_drawn():
    cells = [[np.full((1, 4, 4), 0.1 + 0.1 * (4 * r + c)) for c in range(4)] for r in range(2)]
    explanation = Explanation('x', 'Masks', 'share', ['one', 'two'], ['a', 'b'], cells, groups=['g', 'h'])
    picture = draw_explanation(explanation, PHOTO, {}, title='img')
    colours = {tuple(c) for c in picture.reshape(-1, 3).tolist()}
    from mmmtl.visualization.explanation import colour_cells

    drawn, legend = colour_cells(explanation, {})
    assert legend.low == pytest.approx(0.1) and legend.high == pytest.approx(0.8)
    wanted = {tuple(cell[0, 0].tolist()) for row in drawn for cell in row}
    assert len(wanted) == 8 and wanted <= colours and (90, 160, 60) in colours


def test_steps_are_drawn_in_the_range_of_the_last():
    tasks = build_tasks(dict(depth=dict(type='Depth')))
    near, far = np.full((1, 4, 4), 2.0, np.float32), np.linspace(1, 9, 16, dtype=np.float32).reshape(1, 4, 4)
    from mmmtl.visualization.explanation import colour_cells

    explanation = Explanation('x', 'Steps', 'prediction', ['depth'], ['1', '2'], [[near, far]])
    drawn, _ = colour_cells(explanation, tasks)
    np.testing.assert_array_equal(drawn[0][0], tasks['depth'].colorize(near, reference=far))
    with pytest.raises(ValueError, match='no tasks'):
        colour_cells(explanation, {})
