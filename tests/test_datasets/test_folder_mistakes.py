"""What people have in their folders by mistake, and what is said about it."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import tifffile
from mmengine import dataset as mmengine_dataset
from mmengine.logging import MMLogger
from PIL import Image

from mmmtl.datasets import FolderDataset
from mmmtl.datasets.io.folders import read_id_list
from mmmtl.errors import ConfigError, LabelError, NotFoundError

SEMSEG = dict(semseg=dict(type='SemanticSegmentation', classes=['a', 'b', 'c']))
SALIENCY = dict(saliency=dict(type='Saliency'))
DEPTH = dict(depth=dict(type='Depth'))
HALVES = np.repeat(np.array([[0, 255]], np.uint8), [6, 6], 1).repeat(8, 0)


def write(root, **files):
    """Photographs ``a`` and ``b`` of 8x12, and ``{'saliency/a.png': array}``."""
    (root / 'images').mkdir(exist_ok=True)
    for name in ('a', 'b'):
        Image.fromarray(np.zeros((8, 12, 3), np.uint8)).save(root / f'images/{name}.png')
    for name, array in files.items():
        path = root / name
        path.parent.mkdir(exist_ok=True)
        np.save(path, array) if path.suffix == '.npy' else Image.fromarray(array).save(path)
    return str(root)


def label(data: FolderDataset, name: str, index: int = 0) -> np.ndarray:
    return data.load_sample(index)['gt'][name]


@pytest.fixture
def said():
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record):
            if record.levelno > logging.DEBUG:
                lines.append(record.getMessage())

    logger = MMLogger.get_instance('said')
    logger.addHandler(Keep())
    return lines


def test_arrays_of_0_and_255_are_masks_too(tmp_path, said):
    data = FolderDataset(SALIENCY, write(tmp_path, **{'saliency/a.npy': HALVES.astype(np.int64)}))
    assert np.unique(label(data, 'saliency')).tolist() == [0, 1] and any('255 is read as class 1' in s for s in said)


def test_masks_of_two_kinds_in_a_folder_are_told(tmp_path, said):
    FolderDataset(SALIENCY, write(tmp_path, **{'saliency/a.png': HALVES, 'saliency/b.png': HALVES // 255}))
    assert any('masks of two kinds: 1 of 2' in line and 'a.png' in line for line in said)


def test_every_split_reads_255_alike(tmp_path):
    root = write(tmp_path, **{'saliency/a.png': HALVES, 'saliency/b.png': HALVES // 255})
    (tmp_path / 'one.txt').write_text('a')
    one, both = FolderDataset(SALIENCY, root, split_file='one.txt'), FolderDataset(SALIENCY, root)
    np.testing.assert_array_equal(label(one, 'saliency'), label(both, 'saliency'))


def test_jpeg_masks_need_a_threshold(tmp_path):
    root = write(tmp_path, **{'saliency/a.jpg': HALVES})
    with pytest.raises(LabelError, match=r'a\.jpg.*JPEG.*threshold=127'):
        FolderDataset(SALIENCY, root)[0]
    data = FolderDataset(SALIENCY, root, formats=dict(saliency=dict(threshold=127)))
    np.testing.assert_array_equal(label(data, 'saliency'), HALVES // 255)


@pytest.mark.parametrize('stored, words', [(7, r'unknown=\[7\]'), (3, 'offset=-1'), (-1, r'unknown=\[-1\]')])
def test_numbers_that_are_no_classes_come_with_a_remedy(tmp_path, stored, words):
    values = np.full((8, 12), stored, np.int32)
    values[0] = 1
    with pytest.raises(LabelError, match=words):
        FolderDataset(SEMSEG, write(tmp_path, **{'semseg/a.npy': values}))[0]


def test_a_depth_of_0_is_unknown_in_every_kind_of_file(tmp_path):
    depth = np.full((8, 12), 2, np.float32)
    depth[0] = 0
    root = write(tmp_path, **{'depth/a.npy': depth})
    tifffile.imwrite(tmp_path / 'depth/b.tif', depth)
    data = FolderDataset(DEPTH, root)
    for index in range(2):
        assert np.isnan(label(data, 'depth', index)[0, 0]).all() and np.nanmin(label(data, 'depth', index)) == 2


def test_a_label_of_several_pages_is_refused(tmp_path):
    root = write(tmp_path, **{'semseg/b.png': np.ones((8, 12), np.uint8)})
    tifffile.imwrite(tmp_path / 'semseg/a.tif', np.zeros((3, 8, 12), np.uint8), photometric='minisblack')
    with pytest.raises(LabelError, match='found 3 pages'):
        FolderDataset(SEMSEG, root)[0]


def test_a_turned_square_photograph_is_told(tmp_path, said):
    root = write(tmp_path, **{'semseg/a.png': np.ones((8, 12), np.uint8)})
    turn = Image.Exif()
    turn[0x0112] = 6
    Image.fromarray(np.zeros((12, 12, 3), np.uint8)).save(tmp_path / 'images/b.png', exif=turn)
    FolderDataset(SEMSEG, root)
    assert any('b.png: 6' in line and 'upright=False' in line for line in said)
    said.clear()
    FolderDataset(SEMSEG, root, upright=False)
    assert not any('EXIF' in line for line in said)


def test_split_files_as_tables(tmp_path):
    (tmp_path / 's.csv').write_bytes('\ufeffimage,label\r\na.png,x\r\nb,"y, z"\r\n'.encode())
    root = write(tmp_path, **{'semseg/a.png': np.ones((8, 12), np.uint8)})
    assert len(FolderDataset(SEMSEG, root, split_file='s.csv')) == 2
    assert read_id_list(tmp_path / 's.csv') == ['a.png', 'b']
    with pytest.raises(NotFoundError, match=r's\.csv'):
        FolderDataset(SEMSEG, root, split_file='t.csv')


def test_a_link_that_leads_nowhere_is_named(tmp_path):
    root = write(tmp_path, **{'semseg/a.png': np.ones((8, 12), np.uint8)})
    (tmp_path / 'images/c.png').symlink_to(tmp_path / 'gone.png')
    data = FolderDataset(SEMSEG, root)
    assert len(data) == 3
    with pytest.raises(ValueError, match=r'c\.png.*no such file'):
        data[2]


def test_folders_that_are_called_otherwise(tmp_path, monkeypatch):
    root = write(tmp_path, **{'semseg/A.png': np.ones((8, 12), np.uint8)})
    with pytest.raises(ConfigError, match=r'A\.png: a label is called as its image'):
        FolderDataset(SEMSEG, root)
    with pytest.raises(NotFoundError, match=r"images=NAME.*\['images', 'semseg'\]"):
        FolderDataset(SEMSEG, root, images='photos')
    (tmp_path / 'empty').mkdir()
    with pytest.raises(NotFoundError, match=r'no images in .*empty'):
        FolderDataset(SEMSEG, root, images='empty')
    monkeypatch.setenv('HOME', str(tmp_path))
    (tmp_path / 'semseg/A.png').rename(tmp_path / 'semseg/a.png')
    assert len(FolderDataset(SEMSEG, '~')) == 2


@pytest.mark.parametrize(
    'formats',
    [
        [1],
        dict(semseg=3),
        *[
            dict(semseg=entry)
            for entry in (
                dict(values=[0, 1]),
                dict(threshold='x'),
                dict(offset='a'),
                dict(unknown='0'),
                dict(unknown=['x']),
            )
        ],
    ],
)
def test_formats_of_another_kind(tmp_path, formats):
    with pytest.raises(ConfigError, match=r'FolderDataset\.formats.*expected'):
        FolderDataset(SEMSEG, write(tmp_path, **{'semseg/a.png': np.ones((8, 12), np.uint8)}), formats=formats)


def test_mmengines_own_concatenation_points_to_ours(tmp_path):
    root = write(tmp_path, **{'semseg/a.png': np.ones((8, 12), np.uint8)})
    sets = [FolderDataset(SEMSEG, root), FolderDataset(SEMSEG, root)]
    with pytest.raises(ConfigError, match='MixedDataset'):
        mmengine_dataset.ConcatDataset(sets)
