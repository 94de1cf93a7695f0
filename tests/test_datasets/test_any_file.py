"""Files as people have them: any depth, any form of mask, any folder; nothing is misread without a word."""

from __future__ import annotations

import logging
import struct
import sys
import unicodedata
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from mmengine.logging import MMLogger
from PIL import Image, UnidentifiedImageError
from scipy.io import savemat

from mmmtl.datasets import FolderDataset, MixedDataset
from mmmtl.datasets.io.arrays import encode_flow, read_npy, read_pfm
from mmmtl.datasets.io.exr import read_exr
from mmmtl.datasets.io.folders import walk
from mmmtl.datasets.io.inputs import gather_inputs
from mmmtl.datasets.io.memory import to_rgb
from mmmtl.datasets.io.pictures import decode, image_size, read_image, read_map, turn_upright
from mmmtl.datasets.verify import verify_dataset
from mmmtl.errors import ConfigError, FileError, LabelError
from mmmtl.registry import DATASETS

SALIENCY = dict(saliency=dict(type='Saliency'))
BOUNDARY = dict(boundary=dict(type='Boundary'))
RAMP = np.linspace(0, 60000, 240).astype(np.uint16).reshape(12, 20)
COLOURS = np.dstack([RAMP, RAMP // 2, RAMP // 3])


def folder(tmp_path, files, images=('a', 'b'), size=(12, 20)):
    """``files``: {path: array}; photographs of ``images``."""
    for name in images:
        files = {f'images/{name}.png': np.zeros((*size, 3), np.uint8), **files}
    for name, array in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, array) if path.suffix == '.npy' else Image.fromarray(array).save(path)
    return str(tmp_path)


def png(width, height, depth, kind, rows):
    """A PNG of any depth."""

    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))

    head = struct.pack('>IIBBBBB', width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(b''.join(b'\0' + row for row in rows))
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + chunk(b'IDAT', data) + chunk(b'IEND', b'')


@pytest.fixture
def said():
    """What the log is told."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record):
            lines.append(record.getMessage())

    logger, handler = MMLogger.get_instance('any_file', log_level='INFO'), Keep()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


# ---- masks ---------------------------------------------------------------------------------------------------------
MASK = (np.indices((12, 20)).sum(0) % 3 == 0).astype(np.uint8)


@pytest.mark.parametrize(
    'mask',
    [
        MASK * 255,
        np.dstack([MASK * 255] * 3),
        np.dstack([MASK * 255] * 3 + [np.full_like(MASK, 255)]),
        MASK.astype(bool),
        MASK,
    ],
    ids=['grey', 'rgb', 'rgba', '1 bit', '0 and 1'],
)
@pytest.mark.parametrize('tasks', [SALIENCY, BOUNDARY], ids=['saliency', 'boundary'])
def test_masks_of_two_values(tmp_path, mask, tasks, said):
    name = next(iter(tasks))
    data = FolderDataset(tasks, folder(tmp_path, {f'{name}/a.png': mask, f'{name}/b.png': np.zeros_like(mask)}))
    np.testing.assert_array_equal(data[0]['gt'][name], MASK)
    assert not data[1]['gt'][name].any()
    assert any('255 is read as class 1' in line and name in line for line in said) == (mask.max() == 255)


def test_sixteen_bit_masks(tmp_path):
    data = FolderDataset(SALIENCY, folder(tmp_path, {'saliency/a.png': MASK.astype(np.uint16) * 65535}))
    np.testing.assert_array_equal(data[0]['gt']['saliency'], MASK)


def test_255_stays_unknown_beside_a_one(tmp_path):
    """A folder that also holds a 1 means unknown by 255, in every one of its files."""
    second = MASK.copy()
    second[0] = 255
    data = FolderDataset(BOUNDARY, folder(tmp_path, {'boundary/a.png': MASK * 255, 'boundary/b.png': second}))
    assert set(np.unique(data[0]['gt']['boundary'])) == {0, 255}
    np.testing.assert_array_equal(data[1]['gt']['boundary'], second)


def test_a_value_map(tmp_path):
    root = folder(tmp_path, {'saliency/a.png': MASK * 200, 'saliency/b.png': MASK * 7})
    data = FolderDataset(SALIENCY, root, formats=dict(saliency=dict(values={0: 'background', 200: 1})))
    np.testing.assert_array_equal(data[0]['gt']['saliency'], MASK)
    with pytest.raises(LabelError, match=r'b.png.*found \[7\] in 80 pixels'):
        data[1]
    pairs = FolderDataset(SALIENCY, root, formats=dict(saliency=dict(values=[[0, 0], ['200', 1], [7, 255]])))
    assert set(np.unique(pairs[1]['gt']['saliency'])) == {0, 255}
    cut = FolderDataset(SALIENCY, root, formats=dict(saliency=dict(threshold=6)))
    np.testing.assert_array_equal(cut[1]['gt']['saliency'], MASK)
    with pytest.raises(LabelError, match=r'found \[0, 200\].*threshold=127'):
        FolderDataset(SALIENCY, root)[0]
    for values, message in (({0: 2}, 'expected a class of 0..1'), ({(1, 2): 0}, 'a colour'), ('citiscapes', 'Did you')):
        with pytest.raises(ConfigError, match=message):
            FolderDataset(SALIENCY, root, formats=dict(saliency=dict(values=values)))


@pytest.mark.parametrize('form', ['rgb', 'palette', 'rgba'])
def test_colour_maps(tmp_path, form):
    colours = np.array([(0, 0, 0), (128, 64, 128), (0, 220, 0)], np.uint8)
    ids = np.indices((12, 20)).sum(0) % 3
    picture = colours[ids]
    if form == 'rgba':
        picture = np.dstack([picture, np.full((12, 20), 255, np.uint8)])
    root = folder(tmp_path, {'semseg/a.png': picture})
    if form == 'palette':
        Image.fromarray(picture).quantize(8).save(tmp_path / 'semseg/a.png')
    tasks = dict(semseg=dict(type='SemanticSegmentation', classes=['road', 'tree']))
    formats = dict(semseg=dict(values={(128, 64, 128): 'road', '#00dc00': 'tree'}, unknown=[(0, 0, 0)]))
    label = FolderDataset(tasks, root, formats=formats)[0]['gt']['semseg']
    np.testing.assert_array_equal(label, np.array([255, 0, 1])[ids])
    with pytest.raises(LabelError, match=r'found \[\[0, 220, 0\]\]'):
        FolderDataset(tasks, root, formats=dict(semseg=dict(values={(0, 0, 0): 255, (128, 64, 128): 0})))[0]
    if form == 'rgb':
        with pytest.raises(LabelError, match=r'values=\{\(r, g, b\): class'):
            FolderDataset(tasks, root)[0]


def test_void_and_offset(tmp_path):
    stored = np.arange(240, dtype=np.uint8).reshape(12, 20) % 4
    stored[0] = 255
    tasks = dict(semseg=dict(type='SemanticSegmentation', classes=3))
    data = FolderDataset(
        tasks, folder(tmp_path, {'semseg/a.png': stored}), formats=dict(semseg=dict(offset=-1, unknown=[0]))
    )
    np.testing.assert_array_equal(
        data[0]['gt']['semseg'], np.where((stored == 0) | (stored == 255), 255, stored.astype(int) - 1)
    )


def test_raw_ids_of_cityscapes(tmp_path):
    stored = np.arange(240, dtype=np.uint8).reshape(12, 20) % 34
    tasks = dict(semseg=dict(type='SemanticSegmentation', classes=19))
    data = FolderDataset(
        tasks, folder(tmp_path, {'semseg/a.png': stored}), formats=dict(semseg=dict(values='cityscapes'))
    )
    label = data[0]['gt']['semseg']
    assert set(np.unique(label)) == {*range(19), 255} and (label[stored == 7] == 0).all()
    assert (label[stored == 33] == 18).all() and (label[stored == 6] == 255).all()


def test_transparent_labels_are_refused(tmp_path):
    mask = np.dstack([MASK * 0] * 3 + [MASK * 255])
    with pytest.raises(LabelError, match='without its alpha channel'):
        FolderDataset(SALIENCY, folder(tmp_path, {'saliency/a.png': mask}))[0]


def test_two_and_four_bits(tmp_path):
    folder(tmp_path, {}, images=('a',), size=(2, 4))
    (tmp_path / 'semseg').mkdir()
    (tmp_path / 'semseg/a.png').write_bytes(png(4, 2, 4, 0, [bytes([0x01, 0x23]), bytes([0x45, 0x0F])]))
    tasks = dict(semseg=dict(type='SemanticSegmentation', classes=16))
    label = FolderDataset(tasks, str(tmp_path))[0]['gt']['semseg']
    np.testing.assert_array_equal(label, [[0, 1, 2, 3], [4, 5, 0, 15]])
    (tmp_path / 'two.png').write_bytes(png(4, 1, 2, 0, [bytes([0b00011011])]))
    np.testing.assert_array_equal(read_map(tmp_path / 'two.png'), [[0, 1, 2, 3]])
    np.testing.assert_array_equal(read_image(tmp_path / 'two.png')[0, :, 0], [0, 85, 170, 255])
    tags = ((256, 4), (257, 2), (258, 4), (259, 1), (262, 1), (273, 8), (277, 1), (278, 2), (279, 4))
    tail = struct.pack('<H', len(tags)) + b''.join(struct.pack('<HHII', tag, 4, 1, n) for tag, n in tags) + bytes(4)
    (tmp_path / 'four.tif').write_bytes(b'II*\0' + struct.pack('<I', 12) + bytes([0x01, 0x23, 0x45, 0x0F]) + tail)
    np.testing.assert_array_equal(read_map(tmp_path / 'four.tif'), label)
    (tmp_path / 'shading').mkdir()
    (tmp_path / 'shading/a.png').write_bytes((tmp_path / 'semseg/a.png').read_bytes())
    shading = FolderDataset(dict(shading=dict(type='Shading')), str(tmp_path))[0]['gt']['shading']
    np.testing.assert_allclose(shading[0, 0, 1:], np.array([1, 2, 3]) / 15, rtol=1e-6)  # white is the 15 of four bits


def test_several_annotators_and_sbd(tmp_path):
    root = folder(tmp_path, {}, images=('a',))
    (tmp_path / 'boundary').mkdir()
    maps = [MASK, np.ones_like(MASK), np.zeros_like(MASK)]
    cells = np.empty((1, 3), object)
    for k, m in enumerate(maps):
        cells[0, k] = dict(Segmentation=m, Boundaries=m)
    savemat(tmp_path / 'boundary/a.mat', dict(groundTruth=cells))
    with pytest.raises(LabelError, match=r"found 3 .*annotators='any' or 'majority'"):
        FolderDataset(BOUNDARY, root)[0]
    for chosen, expected in ((0, MASK), ('any', maps[1]), ('majority', np.where(MASK, 1, 255))):
        data = FolderDataset(BOUNDARY, root, formats=dict(boundary=dict(annotators=chosen)))
        np.testing.assert_array_equal(data[0]['gt']['boundary'], expected)
    regions = np.zeros((12, 20), np.uint8)
    regions[2:10, 4:16] = 7
    edge = (regions > 0) & (cv2.erode((regions > 0).astype(np.uint8), np.ones((3, 3))) == 0)
    planes = np.empty((20, 1), object)
    for k in range(20):
        planes[k, 0] = (edge if k == 6 else 0 * edge).astype(np.uint8)
    savemat(tmp_path / 'boundary/a.mat', dict(GTcls=dict(Segmentation=regions, Boundaries=planes)))
    label = FolderDataset(BOUNDARY, root, formats=dict(boundary=dict(category=7)))[0]['gt']['boundary']
    assert (label[edge] == 1).all() and (label[4:8, 6:14] == 255).all() and (label[regions == 0] == 0).all()
    flat = FolderDataset(BOUNDARY, root, formats=dict(boundary=dict(category=7, internal='background')))
    np.testing.assert_array_equal(flat[0]['gt']['boundary'], edge)
    with pytest.raises(LabelError, match='0, 1 or 255'):  # never a silent union
        FolderDataset(BOUNDARY, root)[0]


# ---- depth of pictures ---------------------------------------------------------------------------------------------
def write_ramp(path, form):
    """A ramp of 0..60000 of 16 bits, in many forms."""
    if form == 'float':
        tifffile.imwrite(path, (COLOURS / 65535).astype(np.float32), photometric='rgb')
    elif form == '32 bits':
        tifffile.imwrite(path, RAMP.astype(np.uint32) * 65537)
    elif form == 'white is zero':
        tifffile.imwrite(path, 65535 - RAMP, photometric='miniswhite')
    elif form == 'planes':
        tifffile.imwrite(path, COLOURS.transpose(2, 0, 1), photometric='rgb', planarconfig='separate')
    elif form == 'lzw':
        cv2.imwrite(str(path), COLOURS[..., ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    elif form == 'alpha':
        cv2.imwrite(str(path), np.dstack([COLOURS[..., ::-1], np.full_like(RAMP, 65535)]))
    else:
        cv2.imwrite(str(path), RAMP if form == 'grey' else COLOURS[..., ::-1])


@pytest.mark.parametrize(
    'form,suffix',
    [
        ('grey', 'png'),
        ('grey', 'tif'),
        ('colour', 'png'),
        ('colour', 'tif'),
        ('alpha', 'png'),
        ('float', 'tif'),
        ('32 bits', 'tif'),
        ('white is zero', 'tif'),
        ('planes', 'tif'),
        ('lzw', 'tif'),
    ],
)
def test_photographs_of_many_bits(tmp_path, form, suffix):
    write_ramp(tmp_path / f'a.{suffix}', form)
    image = read_image(tmp_path / f'a.{suffix}')
    assert image.dtype == np.uint8 and image.shape == (12, 20, 3)
    np.testing.assert_array_equal(image[..., 0], np.rint(RAMP / 65535 * 255))
    half = read_image(tmp_path / f'a.{suffix}', white=30000 / 65535 * decode(tmp_path / f'a.{suffix}').white)
    assert half.max() == 255 and abs(int(half[5, 19, 0]) - int(np.rint(RAMP[5, 19] / 30000 * 255))) <= 1


def test_what_is_white_is_said_of_more_than_eight_bits_in_files_and_in_memory(tmp_path):
    grey = np.arange(240, dtype=np.uint8).reshape(12, 20)
    Image.fromarray(grey).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(read_image(tmp_path / 'a.png', white=4095), read_image(tmp_path / 'a.png'))
    np.testing.assert_array_equal(to_rgb(grey, 'x', 4095)[..., 0], grey)
    twelve = (grey / 255 * 4095).astype(np.uint16)
    assert np.abs(to_rgb(twelve, 'x', 4095)[..., 0].astype(int) - grey).max() <= 1
    assert np.abs(to_rgb(grey.astype(np.float32), 'x', 255)[..., 0].astype(int) - grey).max() == 0
    with pytest.warns(UserWarning, match='read as nearly black: .* say white_point='):
        to_rgb(twelve, 'x')
    with pytest.warns(UserWarning, match='none above .* is read as nearly black: .* say white_point=255'):
        to_rgb(grey.astype(np.uint16), 'x')


def test_floats_must_say_what_white_is(tmp_path):
    values = np.full((4, 4, 3), 100, np.float32)
    values[0, 0] = np.nan
    tifffile.imwrite(tmp_path / 'a.tif', values, photometric='rgb')
    with pytest.raises(FileError, match='white_point'):
        read_image(tmp_path / 'a.tif')
    image = read_image(tmp_path / 'a.tif', white=250)
    assert (image[0, 0] == 0).all() and (image[1:] == 102).all()
    data = FolderDataset(SALIENCY, folder(tmp_path, {}), white_point=250, allow_unlabelled=True)
    tifffile.imwrite(tmp_path / 'images/c.tif', values, photometric='rgb')
    assert (FolderDataset(SALIENCY, str(tmp_path), white_point=250, allow_unlabelled=True)[2]['img'][1:] == 102).all()
    assert len(data) == 2


def test_labels_keep_their_depth(tmp_path):
    root = folder(tmp_path, {}, images=('a',))
    for name in ('albedo', 'depth', 'optical_flow'):
        (tmp_path / name).mkdir()
    cv2.imwrite(str(tmp_path / 'albedo/a.png'), COLOURS[..., ::-1])
    tifffile.imwrite(tmp_path / 'depth/a.tif', RAMP / np.float32(1000))
    flow = np.random.default_rng(0).normal(size=(2, 12, 20)).astype(np.float32)
    code = encode_flow(flow, MASK == 0)
    cv2.imwrite(str(tmp_path / 'optical_flow/a.png'), code[..., ::-1])
    cv2.imwrite(str(tmp_path / 'images_next.png'), code)
    tasks = dict(albedo=dict(type='Albedo'), depth=dict(type='Depth'), optical_flow=dict(type='OpticalFlow'))
    data = FolderDataset(tasks, root, next_images='images')
    gt = data[0]['gt']
    np.testing.assert_allclose(gt['albedo'], COLOURS.transpose(2, 0, 1) / 65535, atol=1e-7)
    np.testing.assert_array_equal(gt['depth'][0], np.where(RAMP == 0, np.nan, RAMP / np.float32(1000)))
    known = np.where(MASK == 0, flow, np.nan)
    np.testing.assert_allclose(gt['optical_flow'], known, atol=1 / 128)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation(tmp_path, orientation):
    from PIL import ImageOps

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 20, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / 'images').mkdir()
    picture.save(tmp_path / 'images/a.png', exif=exif)
    expected = np.array(ImageOps.exif_transpose(Image.open(tmp_path / 'images/a.png')))
    np.testing.assert_array_equal(read_image(tmp_path / 'images/a.png'), expected)
    picture.save(tmp_path / 'b.tif', exif=exif, compression='jpeg')  # which Pillow turns by itself
    with Image.open(tmp_path / 'b.tif') as turned:
        np.testing.assert_array_equal(read_image(tmp_path / 'b.tif'), np.array(turned))
    root = folder(tmp_path, {'saliency/a.png': MASK}, images=())
    data = FolderDataset(SALIENCY, root)
    if orientation < 5:
        assert data[0]['gt']['saliency'].shape == (12, 20)
    else:
        with pytest.raises(LabelError, match=rf'EXIF orientation {orientation}.*upright=False'):
            data[0]
        assert FolderDataset(SALIENCY, root, upright=False)[0]['img'].shape == (12, 20, 3)


# ---- sizes ---------------------------------------------------------------------------------------------------------
def test_sizes_are_believed_up_to_a_limit(tmp_path, monkeypatch):
    for depth, kind in ((8, 0), (16, 2)):
        (tmp_path / 'huge.png').write_bytes(png(20000, 20000, depth, kind, [b'']))
        with pytest.raises(FileError, match=r'huge.png: expected at most 179 megapixels.*MMMTL_MAX_PIXELS=400000000'):
            read_image(tmp_path / 'huge.png')
    with (tmp_path / 'huge.npy').open('wb') as file:
        np.lib.format.write_array_header_1_0(file, dict(descr='<f8', fortran_order=False, shape=(10**6, 10**6)))
        file.write(b'12345678')
    with pytest.raises(FileError, match='huge.npy: expected'):
        read_npy(tmp_path / 'huge.npy')
    (tmp_path / 'huge.pfm').write_bytes(b'Pf\n1000000 1000000\n-1.0\n' + bytes(8))
    with pytest.raises(FileError, match='huge.pfm: expected'):
        read_pfm(tmp_path / 'huge.pfm')
    h5py = pytest.importorskip('h5py')
    from mmmtl.datasets.io.arrays import read_hdf5

    with h5py.File(tmp_path / 'huge.hdf5', 'w') as file:
        file.create_dataset('dataset', shape=(10**6, 10**6), dtype='f4', chunks=(1000, 1000))
    with pytest.raises(FileError, match='huge.hdf5: expected at most'):
        read_hdf5(tmp_path / 'huge.hdf5')
    library = pytest.importorskip('OpenEXR')
    planes = {c: np.zeros((20, 30), np.float32) for c in 'RGB'}
    with library.File(dict(compression=library.ZIP_COMPRESSION, type=library.scanlineimage), planes) as file:
        file.write(str(tmp_path / 'a.exr'))
    assert read_exr(tmp_path / 'a.exr').shape == (20, 30, 3)
    monkeypatch.setenv('MMMTL_MAX_PIXELS', '500')
    with pytest.raises(FileError, match='a.exr: expected at most'):
        read_exr(tmp_path / 'a.exr')
    Image.fromarray(np.zeros((25, 25), np.uint8)).save(tmp_path / 'a.png')
    with pytest.raises(FileError, match='MMMTL_MAX_PIXELS=625'):
        read_map(tmp_path / 'a.png')
    monkeypatch.setenv('MMMTL_MAX_PIXELS', '625')
    assert read_map(tmp_path / 'a.png').shape == (25, 25)


# ---- folders -------------------------------------------------------------------------------------------------------
def test_walking(tmp_path):
    root = tmp_path / 'root'
    (root / 'sub').mkdir(parents=True)
    (tmp_path / 'elsewhere').mkdir()
    for name in ('a.png', '._a.png', '.hidden.png', 'Thumbs.db', 'sub/b.png'):
        (root / name).write_bytes(b'x')
    (tmp_path / 'elsewhere/c.png').write_bytes(b'x')
    (root / 'linked').symlink_to(tmp_path / 'elsewhere')
    (root / 'round').symlink_to(root)
    (root / '.ipynb_checkpoints').mkdir()
    (root / '.ipynb_checkpoints/a-checkpoint.png').write_bytes(b'x')
    found = [p.relative_to(root).as_posix() for p in walk(root)]
    assert found == ['a.png', 'linked/c.png', 'sub/b.png']


def test_names_in_any_unicode_form(tmp_path):
    name = 'café'
    root = folder(tmp_path, {f'saliency/{unicodedata.normalize("NFD", name)}.png': MASK}, images=(name,))
    (tmp_path / 'list.csv').write_bytes(b'\xef\xbb\xbf' + unicodedata.normalize('NFD', name).encode() + b'\r\n')
    data = FolderDataset(SALIENCY, root, split_file='list.csv')
    assert data[0]['sample_id'] == name and data.labels == {name: ('saliency',)}


def test_split_files_with_suffixes_and_backslashes(tmp_path):
    root = folder(tmp_path, {'saliency/x/a.png': MASK}, images=('x/a',))
    (tmp_path / 'list.txt').write_text('images\\x\\a.png\n')
    assert FolderDataset(SALIENCY, root, split_file='list.txt')[0]['sample_id'] == 'x/a'


def test_label_files_that_nobody_reads_are_told(tmp_path, said):
    root = folder(tmp_path, {'saliency/a.png': MASK, 'saliency/b_mask.png': MASK, 'saliency/b.gif': MASK})
    data = FolderDataset(SALIENCY, root)
    assert any('1 of 2 files' in line and 'b_mask.png' in line for line in said)
    assert any('1 .gif' in line and 'b.gif' in line for line in said)
    assert len(data.remarks) == 2


def test_ids_stay_in_their_folder(memory):
    class Outside(memory):
        def list_samples(self):
            return [dict(sample_id='../../x', img_path='x.png', number=0)]

    with pytest.raises(ConfigError, match="'../../x' leads out of"):
        Outside(SALIENCY)


# ---- what the labels hold ------------------------------------------------------------------------------------------
def test_suspicious_values_are_told(tmp_path):
    depth = np.full((12, 20), 4000, np.uint16)
    root = folder(
        tmp_path, {'depth/a.png': depth, 'saliency/a.png': 0 * MASK, 'semseg/a.png': np.full((12, 20), 255, np.uint8)}
    )
    tasks = dict(depth=dict(type='Depth'), semseg=dict(type='SemanticSegmentation', classes=3), **SALIENCY)
    report = verify_dataset(FolderDataset(tasks, root), progress=False)
    table, warnings = report.values.table(), '\n'.join(report.values.warnings())
    assert '1 of 2 (50 %)' in table and '4000' in table and '100 %' in table
    assert "task 'depth': the median is 4000 m" in warnings
    assert "task 'semseg': every pixel of all 1 labels is unknown" in warnings
    assert "task 'saliency': of 2 classes 'salient' never occur" in warnings
    near = FolderDataset(dict(depth=tasks['depth']), root, formats=dict(depth=dict(scale=0.001)))
    assert not verify_dataset(near, progress=False).values.warnings()
    drawn = report.values.draw(str(tmp_path / 'values.png'))
    assert Image.open(drawn).size[0] > 100


def test_a_number_that_cannot_be_metres(tmp_path):
    root = folder(tmp_path, {'depth/a.npy': np.full((12, 20), 1e30)})
    with pytest.raises(LabelError, match=r'below 1e9, found 1e\+30'):
        FolderDataset(dict(depth=dict(type='Depth')), root)[0]


# ---- data sets of data sets ----------------------------------------------------------------------------------------
def test_equal_names_of_two_sets_stay_apart(tmp_path):
    sets = []
    for name in ('one', 'two'):
        root = folder(tmp_path / name, {'saliency/a.png': MASK, 'saliency/b.png': MASK})
        sets.append(dict(type='FolderDataset', tasks=SALIENCY, data_root=root, test_mode=True))
    for kind in ('MixedDataset', 'ConcatDataset'):
        data = DATASETS.build(dict(type=kind, datasets=sets))
        assert isinstance(data, MixedDataset)
        assert [data[k]['sample_id'] for k in range(4)] == ['a', 'b', '1/a', '1/b']
        assert data.get_data_info(3)['sample_id'] == '1/b'
    named = [dict(one, pipeline=[dict(type='PrefixSampleId', name=name)]) for one, name in zip(sets, 'xy')]
    data = DATASETS.build(dict(type='MixedDataset', datasets=named))
    ids = [data[k]['sample_id'] for k in range(4)]
    assert ids == ['x/a', 'x/b', 'y/a', 'y/b'] == [data.get_data_info(k)['sample_id'] for k in range(4)]
    folder(tmp_path / 'one', {'images/1/a.png': MASK, 'saliency/1/a.png': MASK})
    data = DATASETS.build(dict(type='MixedDataset', datasets=sets))
    assert [data[k]['sample_id'] for k in range(5)] == ['1/a', 'a', 'b', '1/1/a', '1/1/b']  # 1/a is taken


def test_wrappers_of_mmengine(tmp_path):
    root = folder(tmp_path, {'semseg/a.png': MASK * 2, 'semseg/b.png': 0 * MASK})
    inner = dict(type='FolderDataset', tasks=dict(semseg=dict(type='SemanticSegmentation', classes=3)), data_root=root)
    repeated = dict(type='RepeatDataset', dataset=inner, times=3)
    assert len(DATASETS.build(repeated)) == 6
    with pytest.raises(ConfigError, match='RepeatDataset holds a data set.*put it around the MixedDataset'):
        DATASETS.build(dict(type='MixedDataset', datasets=[repeated, inner]))
    balanced = DATASETS.build(dict(type='ClassBalancedDataset', dataset=inner, oversample_thr=0.9))
    assert sorted(balanced[k]['sample_id'] for k in range(len(balanced)))[-1] == 'b' and len(balanced) > 2


@pytest.mark.parametrize('orientation', [1, 6, 8])
def test_heic_is_upright(tmp_path, orientation):
    """As its decoder shows it: the turn in the file is done once."""
    pillow_heif = pytest.importorskip('pillow_heif')
    pillow_heif.register_heif_opener()
    array = np.zeros((48, 80, 3), np.uint8)
    array[:16, :16] = 250, 20, 20
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(array).save(tmp_path / 'a.heic', exif=exif.tobytes(), quality=100)
    expected = turn_upright(array, orientation)
    found = read_image(tmp_path / 'a.heic')
    assert found.shape == expected.shape and image_size(tmp_path / 'a.heic') in (expected.shape[:2], (48, 80))
    assert np.abs(found.astype(int) - expected).mean() < 4
    assert [i.sample_id for i in gather_inputs(tmp_path)] == ['a']


def test_heic_without_its_package_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pillow_heif', None)
    monkeypatch.setattr(Image, 'open', lambda path: (_ for _ in ()).throw(UnidentifiedImageError('cannot identify')))
    (tmp_path / 'a.heic').write_bytes(b'\0\0\0\x18ftypheic' + bytes(60))
    with pytest.raises(
        FileError, match=r"a.heic: reading HEIC needs a package: pip install 'mmmtl\[heif\]' or pillow-heif"
    ):
        read_image(tmp_path / 'a.heic')
