"""Readers: what they return, and that whatever is wrong with a file comes back with its name."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from PIL import Image

from mmmtl.datasets.io.arrays import read_flo, read_npy
from mmmtl.datasets.io.folders import read_id_list
from mmmtl.datasets.io.matlab import read_mat
from mmmtl.datasets.io.pictures import read_image, read_map, read_picture
from mmmtl.errors import FileError


def test_grey_palette_and_alpha_photographs_become_rgb(tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    Image.fromarray(grey).save(tmp_path / 'grey.png')
    Image.fromarray(grey).convert('P').save(tmp_path / 'palette.png')
    Image.fromarray(np.dstack([grey] * 4)).save(tmp_path / 'alpha.png')
    for name in ('grey', 'palette', 'alpha'):
        image = read_image(tmp_path / f'{name}.png')
        assert image.shape == (6, 8, 3) and image.dtype == np.uint8
        np.testing.assert_array_equal(image[..., 1], grey)


def test_palette_maps_give_ids_not_colours(tmp_path):
    ids = np.array([[0, 15], [255, 3]], np.uint8)
    picture = Image.fromarray(ids, mode='P')
    picture.putpalette([7] * 768)
    picture.save(tmp_path / 'ids.png')
    np.testing.assert_array_equal(read_map(tmp_path / 'ids.png'), ids)


def test_sixteen_bits_survive(tmp_path):
    depth = np.array([[0, 1000], [40000, 65535]], np.uint16)
    Image.fromarray(depth).save(tmp_path / 'd.png')
    np.testing.assert_array_equal(read_map(tmp_path / 'd.png').astype(int), depth)


def test_flo(tmp_path):
    flow = np.random.default_rng(0).normal(size=(3, 4, 2)).astype('<f4')
    flow[1, 2] = 1e10
    (tmp_path / 'a.flo').write_bytes(b'PIEH' + struct.pack('<ii', 4, 3) + flow.tobytes())
    read = read_flo(tmp_path / 'a.flo')
    assert np.isnan(read[1, 2]).all() and np.isnan(read).sum() == 2
    np.testing.assert_array_equal(read[0], flow[0])
    (tmp_path / 'short.flo').write_bytes(b'PIEH' + struct.pack('<ii', 4, 3) + b'12345')
    with pytest.raises(FileError, match=r'short\.flo: expected 108 bytes for 4x3, found 17'):
        read_flo(tmp_path / 'short.flo')
    (tmp_path / 'no.flo').write_bytes(b'JUNKJUNKJUNK')
    with pytest.raises(FileError, match="starts with 'PIEH'"):
        read_flo(tmp_path / 'no.flo')


@pytest.mark.parametrize(
    'read', [read_image, read_map, read_picture, read_npy, read_flo, lambda p: read_mat(p, 'LabelMap')]
)
def test_missing_and_damaged_files_are_named(tmp_path, read):
    with pytest.raises(FileError, match=r'gone: expected .*, found no such file'):
        read(tmp_path / 'gone')
    (tmp_path / 'junk').write_bytes(b'\x00not what it seems' * 20)
    with pytest.raises(FileError, match=r'junk: expected .*, found'):
        read(tmp_path / 'junk')
    (tmp_path / 'empty').write_bytes(b'')
    with pytest.raises(FileError, match=r'empty: expected .*, found'):
        read(tmp_path / 'empty')
    (tmp_path / 'folder').mkdir()
    with pytest.raises(FileError, match=r'folder: expected'):
        read(tmp_path / 'folder')


@pytest.mark.parametrize('suffix', ['jpg', 'png'])
def test_a_truncated_picture_is_an_error(tmp_path, suffix):
    path = tmp_path / f'cut.{suffix}'
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(FileError, match=r'cut.*cannot be read \(2000 bytes'):
        read_image(path)


def test_wrong_kinds_are_refused(tmp_path):
    rgb = np.zeros((4, 4, 3), np.uint8)
    Image.fromarray(rgb).save(tmp_path / 'rgb.png')
    Image.fromarray(rgb[..., 0]).save(tmp_path / 'grey.png')
    with pytest.raises(FileError, match=r'rgb\.png: expected a one-channel picture .* found mode RGB'):
        read_map(tmp_path / 'rgb.png')
    with pytest.raises(FileError, match=r'grey\.png: expected a three-channel picture, found mode L'):
        read_picture(tmp_path / 'grey.png')
    np.save(tmp_path / 'objects.npy', np.array([{}, {}], dtype=object), allow_pickle=True)
    with pytest.raises(FileError, match=r'objects\.npy'):
        read_npy(tmp_path / 'objects.npy')
    np.save(tmp_path / 'text.npy', np.array(['a']))
    with pytest.raises(FileError, match=r'array of numbers, found <U1'):
        read_npy(tmp_path / 'text.npy')


def test_mat(tmp_path):
    from scipy.io import savemat

    savemat(tmp_path / 'x.mat', dict(LabelMap=np.arange(6, dtype=np.uint16).reshape(2, 3)))
    np.testing.assert_array_equal(read_mat(tmp_path / 'x.mat', 'LabelMap'), np.arange(6).reshape(2, 3))
    with pytest.raises(FileError, match="the variable 'anno', found none of that name"):
        read_mat(tmp_path / 'x.mat', 'anno')
    whole = (tmp_path / 'x.mat').read_bytes()
    (tmp_path / 'cut.mat').write_bytes(whole[: len(whole) - 20])
    with pytest.raises(FileError, match=r'cut\.mat'):
        read_mat(tmp_path / 'cut.mat', 'LabelMap')


def test_id_lists(tmp_path):
    path = tmp_path / 'train.txt'
    path.write_bytes(b'\xef\xbb\xbf2008_000001\r\n2008_000002 \r\n\r\n')
    assert read_id_list(path) == ['2008_000001', '2008_000002']
    path.write_text('a\nb\na\n')
    with pytest.raises(ValueError, match="'a' is listed twice"):
        read_id_list(path)
    path.write_text('\n')
    with pytest.raises(ValueError, match='no sample ids'):
        read_id_list(path)
    with pytest.raises(FileNotFoundError, match=r"beside it: \['train.txt'\]"):
        read_id_list(tmp_path / 'trian.txt')
