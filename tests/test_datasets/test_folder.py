"""A user's own folders: every kind of file, partial labels, splits, and what is said when something is off."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmmtl.datasets import FolderDataset
from mmmtl.errors import ConfigError, LabelError

TASKS = dict(semseg=dict(type='SemanticSegmentation', classes=5), depth=dict(type='Depth'))
MILLIMETRES = dict(depth=dict(scale=0.001))


def test_pictures(write_folder, tmp_path):
    write_folder(tmp_path)
    results = FolderDataset(TASKS, str(tmp_path), formats=MILLIMETRES)[2]
    rng = np.random.default_rng(2)
    rng.integers(0, 256, (24, 32, 3), np.uint8)
    np.testing.assert_array_equal(results['gt']['semseg'], rng.integers(0, 5, (24, 32)))
    stored = rng.integers(0, 5000, (24, 32)).astype(np.float32)
    expected = np.where(stored == 0, np.nan, stored * np.float32(0.001))
    np.testing.assert_array_equal(results['gt']['depth'][0], expected.astype(np.float32))


def test_arrays_and_vectors(write_folder, tmp_path):
    write_folder(tmp_path, 2)
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(24, 32, 3)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    for name in ('normals', 'flow', 'images_next', 'parts'):
        (tmp_path / name).mkdir()
    vectors[3, 4] = np.nan
    np.save(tmp_path / 'normals' / 'photo0.npy', vectors)
    np.save(tmp_path / 'normals' / 'photo1.npy', vectors.transpose(2, 0, 1))
    np.save(tmp_path / 'flow' / 'photo0.npy', rng.normal(size=(24, 32, 2)))
    np.save(tmp_path / 'parts' / 'photo0.npy', rng.integers(0, 8, (24, 32)))
    for k in range(2):
        cv2.imwrite(str(tmp_path / 'images_next' / f'photo{k}.png'), np.zeros((24, 32, 3), np.uint8))
    tasks = dict(
        normals=dict(type='SurfaceNormals'),
        optical_flow=dict(type='OpticalFlow', source='flow'),
        human_parts=dict(type='HumanParts', source='parts'),
    )
    formats = dict(human_parts=dict(offset=-1, unknown=[0]))
    data = FolderDataset(tasks, str(tmp_path), next_images='images_next', formats=formats)
    assert data.labels == {'photo0': ('normals', 'optical_flow', 'human_parts'), 'photo1': ('normals',)}
    first, second = data[0], data[1]
    np.testing.assert_array_equal(first['gt']['normals'], second['gt']['normals'])
    assert np.isnan(first['gt']['normals'][:, 3, 4]).all() and first['gt']['optical_flow'].dtype == np.float32
    assert set(np.unique(first['gt']['human_parts'])) == {0, 1, 2, 3, 4, 5, 6, 255}
    assert first['img_next'].shape == (24, 32, 3)


def test_a_picture_of_normals(write_folder, tmp_path):
    write_folder(tmp_path, 1)
    (tmp_path / 'normals').mkdir()
    picture = np.full((24, 32, 3), 128, np.uint8)
    picture[..., 0] = 255  # blue in BGR: z
    picture[0, 0] = 0
    cv2.imwrite(str(tmp_path / 'normals' / 'photo0.png'), picture)
    data = FolderDataset(
        dict(normals=dict(type='SurfaceNormals')),
        str(tmp_path),
        formats=dict(normals=dict(scale=2 / 255, offset=-1, unknown=[0])),
    )
    label = data[0]['gt']['normals']
    np.testing.assert_allclose(label[:, 5, 5], [0, 0, 1], atol=0.005)
    assert np.isnan(label[:, 0, 0]).all() and np.isnan(label).sum() == 3


def test_sub_folders_and_splits(write_folder, tmp_path):
    write_folder(tmp_path / 'a')
    root = tmp_path / 'b'
    for name in ('images', 'semseg', 'depth'):
        (root / name / 'monday').mkdir(parents=True)
        for path in (tmp_path / 'a' / name).iterdir():
            path.rename(root / name / 'monday' / path.name)
    (root / 'some.txt').write_text('monday/photo3\r\nmonday/photo1\r\n')
    data = FolderDataset(TASKS, str(root), split_file='some.txt')
    assert [data.get_data_info(k)['sample_id'] for k in range(2)] == ['monday/photo3', 'monday/photo1']
    (root / 'some.txt').write_text('monday/photo9\n')
    with pytest.raises(FileNotFoundError, match="1 ids have no image.*Did you mean 'monday/photo"):
        FolderDataset(TASKS, str(root), split_file='some.txt')


def test_what_is_said(write_folder, tmp_path):
    write_folder(tmp_path)
    with pytest.raises(ConfigError, match=r"formats: 'detph' is not a task.*Did you mean 'depth'"):
        FolderDataset(TASKS, str(tmp_path), formats=dict(detph=dict(scale=1)))
    with pytest.raises(ConfigError, match=r"unknown entry 'scael'.*Did you mean 'scale'"):
        FolderDataset(TASKS, str(tmp_path), formats=dict(depth=dict(scael=1)))
    with pytest.raises(FileNotFoundError, match='no folder of images at'):
        FolderDataset(TASKS, str(tmp_path), images='photos')
    cv2.imwrite(str(tmp_path / 'depth' / 'photo0.png'), np.ones((10, 32), np.uint16))
    np.save(tmp_path / 'semseg' / 'photo1.npy', np.zeros((24, 32)))
    (tmp_path / 'semseg' / 'photo1.png').unlink()
    data = FolderDataset(TASKS, str(tmp_path), formats=MILLIMETRES)
    with pytest.raises(
        LabelError, match=r"photo0.png: task 'depth' expects the size of its image, 24x32 .*found 10x32"
    ):
        data[0]
    with pytest.raises(LabelError, match=r'photo1.npy.*expected integer class ids, found float64'):
        data[1]
    with pytest.raises(ConfigError, match='class ids take offset and unknown'):
        FolderDataset(TASKS, str(tmp_path), formats=dict(semseg=dict(scale=2)))[2]
    np.save(tmp_path / 'semseg' / 'photo2.npy', np.zeros((24, 32)))
    with pytest.raises(ValueError, match="two files for 'photo2'"):
        FolderDataset(TASKS, str(tmp_path))
