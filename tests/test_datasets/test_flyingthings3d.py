"""FlyingThings3D from disparities to labels, against the Diorama scenes; and real files of its formats."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.datasets.flyingthings3d import FlyingThings3D, scatter
from mmmtl.datasets.io.arrays import decode_flow, encode_flow, read_flo, read_pfm
from mmmtl.datasets.preparation.flyingthings3d import prepare_flyingthings3d, scene_flow_of_disparity
from mmmtl.errors import FileError
from tests.miniatures.flyingthings3d import save_flo, write_flyingthings3d

FLOWS = dict(optical_flow=dict(type='OpticalFlow'), scene_flow=dict(type='SceneFlow'))


def test_from_disparity_to_labels(tmp_path):
    truth, camera = write_flyingthings3d(tmp_path / 'raw')
    make = dict(progress=False, camera=camera)
    assert prepare_flyingthings3d(tmp_path / 'raw', tmp_path / 'out', **make) == (6, 0)
    (tmp_path / 'out/val/pc/0000000.npz').unlink()
    assert prepare_flyingthings3d(tmp_path / 'raw', tmp_path / 'out', **make) == (1, 5)
    for split in ('train', 'val'):
        data = FlyingThings3D(FLOWS, str(tmp_path / 'out'), split=split, crop=(36, 60), camera=camera)
        assert len(data) == 1  # the last frame has no successor
        results, want = data[0], truth[f'{split}/0000000']
        box = (..., slice(2, 38), slice(2, 62))
        np.testing.assert_array_equal(results['img'], want['img'][2:38, 2:62])
        np.testing.assert_array_equal(results['img_next'], want['img_next'][2:38, 2:62])
        flow, moved = results['gt']['optical_flow'], results['gt']['scene_flow']
        bad = want['fast'] | want['unknown']
        np.testing.assert_array_equal(np.isnan(flow[0]), bad[box])
        assert np.nanmax(np.abs(flow - want['optical_flow'][box])) <= 1 / 128 + 1e-6
        np.testing.assert_array_equal(np.isnan(moved[0]), (want['unknown'] | want['far'])[box])
        slow = ~bad[box]  # a flow that is wrong moves its point elsewhere
        assert np.nanmax(np.abs(moved - want['scene_flow'][box])[:, slow]) < 1e-3


def test_upstream_lies_two_pixels_low(tmp_path):
    truth, camera = write_flyingthings3d(tmp_path / 'raw')
    prepare_flyingthings3d(tmp_path / 'raw', tmp_path / 'out', ('train',), progress=False, camera=camera)
    clean, shifted = (
        FlyingThings3D(FLOWS, str(tmp_path / 'out'), crop=(36, 64), camera=camera, upstream=u)[0]['gt']['scene_flow']
        for u in (False, True)
    )
    np.testing.assert_array_equal(shifted[:, 2:], clean[:, :-2])
    assert not np.array_equal(shifted, clean, equal_nan=True)


def test_disparity_of_either_sign():
    rng = np.random.default_rng(0)
    disparity, change, flow = rng.uniform(40, 60, (5, 6)), rng.uniform(-3, 3, (5, 6)), rng.normal(size=(5, 6, 2))
    for a, b in zip(
        scene_flow_of_disparity(disparity, change, flow), scene_flow_of_disparity(-disparity, -change, flow)
    ):
        np.testing.assert_array_equal(a, b)
    assert len(a) == 30


def test_scatter():
    points = np.array([[0, 0, 2.0], [0.2, 0, 1.0], [50, 0, 1.0]])
    out = scatter(np.array([[1.0], [2.0], [3.0]]), points, (10.0, 3.0, 1.0), (3, 8))
    want = np.full((1, 3, 8), np.nan)
    want[0, 1, 3], want[0, 1, 5] = 1, 2
    np.testing.assert_array_equal(out, want)


def test_real_files(shared_dir):
    """A pair of FlyingChairs with its flow and occlusion weights: through the picture code and back."""
    root = shared_dir / 'data/optical_flow/mmflow/tests/data'
    if not root.is_dir():
        pytest.skip('no optical flow in the reference data')
    flow = read_flo(root / '0000000-flow_01.flo')
    known = (np.abs(flow) < 500).all(-1)
    back, valid = decode_flow(encode_flow(flow.transpose(2, 0, 1), known))
    np.testing.assert_array_equal(valid, known)
    assert np.abs(back.transpose(1, 2, 0) - flow)[known].max() <= 1 / 128 + 1e-6
    weights = read_pfm(root / '0000000-occ_weights_01.pfm')
    assert weights.shape[:2] == flow.shape[:2] and np.isfinite(weights).all()


def test_errors(tmp_path):
    with pytest.raises(FileError, match='FlyingThings3D train: points: nothing to do'):
        prepare_flyingthings3d(tmp_path, tmp_path / 'out')
    write_flyingthings3d(tmp_path)
    save_flo(tmp_path / 'train/flow/left/into_future/0000000.flo', np.zeros((4, 4, 2)))
    with pytest.raises(FileError, match=r'train/0000000: expected maps of one size, found disparity \(40, 64\)'):
        prepare_flyingthings3d(tmp_path, tmp_path / 'out', progress=False)
    (tmp_path / 'x.pfm').write_bytes(b'P5\n1 1\n')
    with pytest.raises(FileError, match="x.pfm: expected a file that starts with 'Pf'"):
        read_pfm(tmp_path / 'x.pfm')
    (tmp_path / 'list.txt').write_text('train/image_clean/0000000.png\n')
    with pytest.raises(FileError, match="expected lines like 'train/flow_2d/0000000.png'"):
        FlyingThings3D(FLOWS, str(tmp_path), 'list.txt')
    save_flo(tmp_path / 'train/flow/left/into_future/0000000.flo', np.zeros((40, 64, 2)))
    prepare_flyingthings3d(tmp_path, tmp_path / 'out', progress=False)
    with pytest.raises(FileError, match=r'image_clean/0000000.png: expected at least 536x960 pixels .* found 40x64'):
        FlyingThings3D(FLOWS, str(tmp_path / 'out'))[0]
