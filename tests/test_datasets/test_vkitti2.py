"""Virtual KITTI 2 and its normals, against the Diorama scenes that were written in its layout."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.datasets.preparation.normals_from_depth import normals_from_depth, prepare_vkitti2_normals
from mmmtl.datasets.street_classes import STREET_CLASSES
from mmmtl.datasets.vkitti2 import VKITTI2
from mmmtl.errors import FileError
from tests.miniatures.streets import write_vkitti2

SINGLE = dict(
    depth=dict(type='Depth'),
    normals=dict(type='SurfaceNormals'),
    semseg=dict(type='SemanticSegmentation', classes=STREET_CLASSES),
)
FLOWS = dict(optical_flow=dict(type='OpticalFlow'), scene_flow=dict(type='SceneFlow'))


def angle(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Degrees between two maps of unit vectors, NaN where one is unknown."""
    return np.degrees(np.arccos((a * b).sum(0).clip(-1, 1)))


def test_motion(tmp_path):
    truth = write_vkitti2(tmp_path)
    data = VKITTI2(FLOWS, str(tmp_path))
    # scene 01 is held out, the last frames have no successor
    assert [data.get_data_info(k)['sample_id'] for k in range(len(data))] == [
        'Scene02/clone/Camera_0/00000',
        'Scene20/sunset/Camera_0/00000',
    ]
    for results in data:
        want = truth[results['sample_id']]
        assert np.abs(results['img_next'].astype(int) - want['img_next']).mean() < 12  # a JPEG
        for name, step in (('optical_flow', 120 / 65535), ('scene_flow', 10 / 65535)):
            found = results['gt'][name]
            np.testing.assert_array_equal(np.isnan(found).all(0), want['sky'])
            assert np.nanmax(np.abs(found - want[name])) <= step + 1e-4
    held = VKITTI2(FLOWS, str(tmp_path), split='val')
    assert [held.get_data_info(k)['sample_id'] for k in range(len(held))] == ['Scene01/clone/Camera_0/00000']


def test_single_frames_and_normals(tmp_path):
    truth = write_vkitti2(tmp_path)
    focal, cx, cy = (truth['Scene02/clone/Camera_0/00000']['intrinsics'][i] for i in ((0, 0), (0, 2), (1, 2)))
    made = prepare_vkitti2_normals(tmp_path, progress=False, camera=(focal, focal, cx, cy))
    assert made == (6, 0)
    # resumes: one file is missing, one half-written file of another run lies about
    (tmp_path / 'normal_estimated/Scene02/clone/frames/normal/Camera_0/normal_00000.npy').unlink()
    assert prepare_vkitti2_normals(tmp_path, progress=False, camera=(focal, focal, cx, cy)) == (1, 5)
    (tmp_path / 'list.txt').write_text('original/Scene02/clone/frames/classSegmentation/Camera_0/classgt_00000.png\n')
    results = VKITTI2(SINGLE, str(tmp_path), 'list.txt', max_depth=6.0)[0]
    want, gt = truth['Scene02/clone/Camera_0/00000'], results['gt']
    assert 'img_next' not in results
    known = ~want['sky'] & (np.rint(want['depth'][0] * 100) < 600)
    np.testing.assert_array_equal(np.isfinite(gt['depth'][0]), known)
    assert np.nanmax(np.abs(gt['depth'] - want['depth'])) <= 0.00501
    np.testing.assert_array_equal(np.isfinite(gt['normals'][0]), known)
    assert set(gt['semseg'][0]) == {255} and set(gt['semseg'][1]) == {7}  # terrain, truck
    np.testing.assert_array_equal(gt['semseg'][2:], want['semseg'][2:])


def test_normals_of_diorama():
    """The renderer's own normals are the second derivation; unquantised depth, so that only the method errs."""
    from tests.miniatures.streets import pair

    errors = []
    for number in range(3):
        scene = pair(number, (96, 128))
        focal, cx, cy = (scene['intrinsics'][i] for i in ((0, 0), (0, 2), (1, 2)))
        errors.append(angle(normals_from_depth(scene['depth'][0], (focal, focal, cx, cy)), scene['normals']).ravel())
    error = np.concatenate(errors)
    assert np.median(error) < 0.5 and (error < 5).mean() > 0.85


def test_normals_of_a_plane_are_exact():
    camera, true = (70.0, 60.0, 20.0, 13.0), np.array([0.3, 0.5, 0.6]) / np.linalg.norm([0.3, 0.5, 0.6])
    rows, columns = np.indices((30, 40))
    rays = np.stack([(columns - 20) / 70, -(rows - 13) / 60, -np.ones((30, 40))])  # x right, y up, z back
    depth = -4 / np.tensordot(true, rays, 1)  # n·P = -4: it faces the camera
    assert depth.min() > 0
    for refine in (False, True):
        np.testing.assert_allclose(
            normals_from_depth(depth, camera, refine), np.broadcast_to(true[:, None, None], (3, 30, 40)), atol=1e-5
        )
    # a nearer plane in front of it leaves no skewed normals along its edge
    front = depth.copy()
    front[8:20, 10:30] = 1.5
    found = normals_from_depth(front, camera)
    skewed = np.minimum(angle(found, true[:, None, None]), angle(found, np.array([0, 0, 1.0])[:, None, None])) > 2
    assert skewed.sum() <= 4  # the corners
    front[0, 0] = 0
    assert np.isnan(normals_from_depth(front, camera)[:, 0, 0]).all()


def test_errors(tmp_path):
    with pytest.raises(FileError, match='expected original/SceneNN.*found none'):
        prepare_vkitti2_normals(tmp_path)
    write_vkitti2(tmp_path)
    (tmp_path / 'list.txt').write_text('Scene02/clone/rgb_00000.jpg\n')
    with pytest.raises(FileError, match=r"list.txt: expected lines like 'original/Scene02.*found 'Scene02/clone/rgb"):
        VKITTI2(SINGLE, str(tmp_path), 'list.txt')
    (tmp_path / 'original/Scene20/sunset/frames/depth/Camera_0/depth_00001.png').write_bytes(b'cut')
    with pytest.raises(FileError, match=r'1 of 6 failed .*\nScene20/sunset/.*depth_00001.png.*cannot be read'):
        prepare_vkitti2_normals(tmp_path, progress=False)
    assert len(list(tmp_path.glob('normal_estimated/**/*.npy'))) == 5
    with pytest.raises(ValueError, match='at least 3x3'):
        normals_from_depth(np.ones((2, 9)), (1, 1, 1, 1))
