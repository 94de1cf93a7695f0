"""Hypersim from HDF5 to labels, against the Diorama scenes it was written from; and a real frame."""

from __future__ import annotations

import csv

import numpy as np
import pytest

pytest.importorskip('h5py')

from mmmtl.datasets.hypersim import Hypersim  # noqa: E402
from mmmtl.datasets.preparation.hypersim import plane_depth, prepare_hypersim, rays, read_hdf5  # noqa: E402
from mmmtl.datasets.preparation.tone import tone_map, tone_scale  # noqa: E402
from mmmtl.errors import FileError  # noqa: E402
from tests.miniatures.hypersim import write_hypersim  # noqa: E402

TASKS = dict(
    depth=dict(type='Depth'),
    normals=dict(type='SurfaceNormals'),
    albedo=dict(type='Albedo'),
    shading=dict(type='Shading'),
)


def test_from_hdf5_to_labels(tmp_path):
    truth = write_hypersim(tmp_path / 'raw')
    csvs = dict(split_csv=tmp_path / 'raw/splits.csv', camera_csv=tmp_path / 'raw/cameras.csv')
    assert prepare_hypersim(tmp_path / 'raw', tmp_path / 'out', progress=False, **csvs) == (2, 0)
    data = Hypersim(TASKS, str(tmp_path / 'out/train'), max_depth=30.0)
    assert [data.get_data_info(k)['sample_id'] for k in range(len(data))] == list(truth)
    for results in data:
        want, gt = truth[results['sample_id']], results['gt']
        unseen, dark = want['unseen'], want['dark']
        np.testing.assert_array_equal(np.isnan(gt['depth'][0]), unseen)
        assert np.nanmax(np.abs(gt['depth'] - want['depth'])) < 0.0011
        np.testing.assert_array_equal(np.isnan(gt['normals'][0]), want['no_normal'])
        off = np.nanmax(np.abs(gt['normals'] - want['normals']))
        assert off < 1e-4  # turned towards the camera, x to the right
        assert np.isnan(gt['albedo'][0])[dark].all() and np.isnan(gt['shading'][0])[dark].all()
        color = want['albedo'].transpose(1, 2, 0) * want['shading'].transpose(1, 2, 0)
        color[dark] = np.array([0.4, 0, 0.3]) * want['shading'][0][dark][:, None]
        grey = color @ np.array([0.3, 0.59, 0.11])
        scale = 0.8**2.2 / np.percentile(grey[~unseen], 90)
        albedo = (want['albedo'] * scale).clip(0, 1)
        known = np.isfinite(gt['albedo'][0])
        assert known.mean() > 0.8
        assert np.abs(gt['albedo'] - albedo)[:, known].max() <= 1 / 255 + 1e-6
        assert np.abs(gt['shading'] - want['shading'])[:, known].max() < 2 / 255
        photograph = (255 * (color * scale) ** (1 / 2.2)).clip(0, 255)
        assert np.abs(results['img'] - photograph).max() <= 1.01


def test_resume_and_published_names(tmp_path):
    truth = write_hypersim(tmp_path / 'raw')
    out = tmp_path / 'out/train'
    assert prepare_hypersim(tmp_path / 'raw', tmp_path / 'out', progress=False) == (2, 0)
    before = (out / 'ai_001_002/rgb_cam_00_fr0001.png').stat().st_mtime_ns
    (out / 'ai_001_001/shading_cam_00_fr0000.png').unlink()
    assert prepare_hypersim(tmp_path / 'raw', tmp_path / 'out', progress=False) == (1, 1)
    assert (out / 'ai_001_002/rgb_cam_00_fr0001.png').stat().st_mtime_ns == before
    # the published preparation is read where its albedo is called reflectance
    for path in out.glob('*/albedo_*'):
        path.rename(path.with_name(path.name.replace('albedo', 'reflectance')))
    (tmp_path / 'list.txt').write_text('ai_001_002/rgb_cam_00_fr0001.png ai_001_002/depth_plane_cam_00_fr0001.png\n')
    data = Hypersim(dict(albedo=TASKS['albedo']), str(tmp_path / 'out/train'), str(tmp_path / 'list.txt'))
    assert len(data) == 1 and data[0]['gt']['albedo'].shape == (3, 48, 64)
    assert data[0]['sample_id'] in truth


def test_real_frame(shared_dir):
    """A released frame: its rays project back to its pixels by the projection matrix that came with them."""
    root = shared_dir / 'data/hypersim/contrib/mikeroberts3000'
    if not root.is_dir():
        pytest.skip('no frame of Hypersim in the reference data')
    distance = read_hdf5(next(root.rglob('*.depth_meters.hdf5')))
    with (root / 'metadata_camera_parameters.csv').open() as file:
        row = next(r for r in csv.DictReader(file) if r['scene_name'] == 'ai_037_002')
    cam, proj = (
        np.array([[float(row[f'{n}_{i}{j}']) for j in range(k)] for i in range(k)])
        for n, k in (('M_cam_from_uv', 3), ('M_proj', 4))
    )
    height, width = distance.shape
    directions = rays(height, width, cam)
    depth = plane_depth(distance, directions)
    points = directions * (depth / -directions[2])
    np.testing.assert_allclose(np.linalg.norm(points, axis=0), distance, rtol=1e-6)
    units = np.concatenate([points / float(row['settings_units_info_meters_scale']), np.ones((1, height, width))])
    clip = np.einsum('ij,jhw->ihw', proj, units)
    rows, columns = np.indices(depth.shape) + 0.5
    np.testing.assert_allclose(clip[0] / clip[3], columns / width * 2 - 1, atol=1e-4)
    np.testing.assert_allclose(clip[1] / clip[3], 1 - rows / height * 2, atol=1e-4)
    # the one focal length of the published preparation is near, but this lens is shifted
    plain = plane_depth(distance, rays(height, width))
    assert 0.002 < np.abs(plain / depth - 1).mean() < 0.1


def test_tone():
    radiance = np.random.default_rng(0).gamma(2.0, 3.0, (40, 50, 3))
    scale = tone_scale(radiance)
    bright = (radiance * scale) @ np.array([0.3, 0.59, 0.11])
    assert abs(np.percentile(bright, 90) ** (1 / 2.2) - 0.8) < 1e-9
    assert tone_scale(radiance * 0) == 0 and tone_scale(radiance, np.zeros((40, 50), bool)) == 1
    assert tone_map(radiance, scale).max() == 1


def test_errors(tmp_path):
    with pytest.raises(FileError, match='Hypersim train: nothing to do'):
        prepare_hypersim(tmp_path, tmp_path / 'out')
    write_hypersim(tmp_path)
    with pytest.raises(FileError, match=r'1 of 1 failed .*\nai_001_001/cam_01_fr0000: .*render_entity_id.hdf5'):
        prepare_hypersim(tmp_path, tmp_path / 'out', 'test', tmp_path / 'splits.csv', progress=False)
    with pytest.raises(FileError, match='splits.csv.*expected the columns.*included_in_public_release'):
        (tmp_path / 'splits.csv').write_text('scene_name\nai_001_001\n')
        prepare_hypersim(tmp_path, tmp_path / 'out', 'train', tmp_path / 'splits.csv', progress=False)
    (tmp_path / 'list.txt').write_text('rgb/cam_00_fr0000.png\n')
    with pytest.raises(FileError, match=r"expected lines that begin like 'ai_001_001/rgb_cam"):
        Hypersim(TASKS, str(tmp_path), 'list.txt')
