"""What numbers in label files may mean: palettes, votes, thresholds, missing depths; nothing is guessed in silence."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from mmmtl.datasets import FolderDataset, IndexedDataset
from mmmtl.datasets.io.inputs import gather_inputs
from mmmtl.datasets.io.values import join_annotators
from mmmtl.datasets.preparation.indexing import make_index
from mmmtl.errors import ConfigError, FileError, LabelError
from mmmtl.registry import DATASETS

from .test_folder_mistakes import DEPTH, SALIENCY, label, said, write  # noqa: F401 - a fixture

SEMSEG = dict(semseg=dict(type='SemanticSegmentation', classes=8))
MASK = (np.indices((8, 12)).sum(0) % 3 == 0).astype(np.uint8)
IDS = (np.indices((8, 12)).sum(0) % 3).astype(np.uint8)
NUMBERS = np.arange(96, dtype=np.uint8).reshape(8, 12)


def with_palette(root, name, ids, *colours):
    picture = Image.new('P', ids.shape[::-1])
    picture.putdata(ids.ravel().tolist())
    picture.putpalette([level for colour in colours for level in colour])
    (root / name).parent.mkdir(exist_ok=True)
    picture.save(root / name)


@pytest.mark.parametrize('white', [0, 1])
def test_a_mask_with_a_palette_is_what_it_shows(tmp_path, white):
    root = write(tmp_path)
    colours = [(0, 0, 0), (255, 255, 255)][:: 1 if white else -1]
    with_palette(tmp_path, 'saliency/a.png', MASK if white else 1 - MASK, *colours)
    np.testing.assert_array_equal(label(FolderDataset(SALIENCY, root), 'saliency'), MASK)
    data = FolderDataset(SALIENCY, root, formats=dict(saliency=dict(threshold=127)))
    np.testing.assert_array_equal(label(data, 'saliency'), MASK)


def test_palettes_that_differ_are_told(tmp_path, said):  # noqa: F811
    root = write(tmp_path)
    with_palette(tmp_path, 'semseg/a.png', IDS, (0, 0, 0), (128, 0, 0), (0, 128, 0))
    with_palette(tmp_path, 'semseg/b.png', IDS, (0, 0, 0), (0, 128, 0), (128, 0, 0))
    FolderDataset(SEMSEG, root)
    assert any('id 1 has the colour (128, 0, 0) in the palette of a.png' in line for line in said)
    said.clear()
    table = {(0, 0, 0): 0, (128, 0, 0): 1, (0, 128, 0): 2}
    data = FolderDataset(SEMSEG, root, formats=dict(semseg=dict(values=table)))
    np.testing.assert_array_equal(label(data, 'semseg', 1), np.array([0, 2, 1])[IDS])
    assert not said


def test_greys_that_became_a_palette_are_told(tmp_path, said):  # noqa: F811
    write(tmp_path)
    with_palette(tmp_path, 'semseg/a.png', IDS, (0, 0, 0), (7, 7, 7), (3, 3, 3))
    FolderDataset(SEMSEG, str(tmp_path))
    assert any('id 1 is grey 7' in line for line in said)


def test_colours_are_no_depth(tmp_path):
    root = write(tmp_path, **{'depth/b.png': NUMBERS})
    with_palette(tmp_path, 'depth/a.png', NUMBERS, *[(i, 255 - i, 0) for i in range(96)])
    with pytest.raises(LabelError, match=r'a\.png.*found colours'):
        FolderDataset(DEPTH, root)[0]
    flow = dict(optical_flow=dict(type='OpticalFlow'))
    wheel = np.dstack([NUMBERS, NUMBERS, NUMBERS[::-1]])
    with pytest.raises(LabelError, match='found colours'):
        FolderDataset(flow, write(tmp_path, **{'optical_flow/a.png': wheel}), next_images='images')[0]


def test_numbers_without_a_unit_are_told(tmp_path, said):  # noqa: F811
    root = write(tmp_path, **{'depth/a.png': NUMBERS})
    FolderDataset(DEPTH, root, formats=dict(depth=dict(scale=0.1)))
    assert not said
    FolderDataset(DEPTH, root)
    assert any('uint8, for example a.png) are read as m' in line for line in said)


def test_depth_0_stays_unknown_beside_other_marks(tmp_path):
    stored = np.where(IDS == 0, -1, np.where(IDS == 1, 0, 2)).astype(np.float32)
    data = FolderDataset(DEPTH, write(tmp_path, **{'depth/a.npy': stored}), formats=dict(depth=dict(unknown=[-1])))
    np.testing.assert_array_equal(np.isnan(label(data, 'depth')[0]), IDS < 2)


def test_votes_count_only_who_knows():
    #        all 1, one unknown; 0 against 1; nobody knows; one 1 and two unknown; only 0 known
    maps = np.array([[[1, 0, 255, 1, 0]], [[1, 1, 255, 255, 255]], [[255, 0, 255, 255, 255]]], np.uint8)
    assert join_annotators(maps, 'any').tolist() == [[1, 1, 255, 1, 0]]
    assert join_annotators(maps, 'majority').tolist() == [[1, 255, 255, 1, 0]]


def test_nan_is_on_no_side_of_a_threshold(tmp_path):
    stored = np.where(IDS == 0, np.nan, MASK).astype(np.float32)
    root = write(tmp_path, **{'saliency/a.npy': stored})
    data = FolderDataset(SALIENCY, root, formats=dict(saliency=dict(threshold=0.5)))
    np.testing.assert_array_equal(label(data, 'saliency') == 255, IDS == 0)


def test_a_threshold_cuts_what_the_file_can_hold(tmp_path):
    root = write(tmp_path, **{'saliency/a.png': MASK.astype(bool)})
    with pytest.raises(LabelError, match=r'threshold of 127.*0\.\.1'):
        FolderDataset(SALIENCY, root, formats=dict(saliency=dict(threshold=127)))[0]


@pytest.mark.parametrize(
    'tasks, form, words',
    [
        (SEMSEG, dict(threshold=127), 'make two classes.*has 8'),
        (SEMSEG, dict(annotators='any'), 'make two classes.*has 8'),
        (SALIENCY, dict(annotators='most'), "'any' or 'majority', found 'most'"),
        (SEMSEG, dict(offset=0.5), 'whole numbers, found 0.5'),
        (DEPTH, dict(scale=0), 'other than 0'),
        (DEPTH, dict(scale=float('nan')), 'expected a number, found nan'),
        (DEPTH, dict(offset=float('inf')), 'expected a number, found inf'),
    ],
)
def test_formats_that_mean_nothing(tmp_path, tasks, form, words):
    name = next(iter(tasks))
    with pytest.raises(ConfigError, match=words):
        FolderDataset(tasks, write(tmp_path, **{f'{name}/a.png': MASK}), formats={name: form})


@pytest.mark.parametrize('turn', [3, 6])
def test_labels_are_turned_by_their_own_orientation(tmp_path, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    root = write(tmp_path)
    stored = np.rot90(IDS, 2 if turn == 3 else 1)
    for name, array in (('images/a.png', np.zeros((*stored.shape, 3), np.uint8)), ('semseg/a.png', stored)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.fromarray(np.ascontiguousarray(array)).save(tmp_path / name, exif=exif)
    np.testing.assert_array_equal(label(FolderDataset(SEMSEG, root), 'semseg'), IDS)
    np.testing.assert_array_equal(label(FolderDataset(SEMSEG, root, upright=False), 'semseg'), stored)
    normals = np.full((*stored.shape, 3), 128, np.uint8) | np.array([0, 0, 127], np.uint8)
    (tmp_path / 'normals').mkdir()
    Image.fromarray(normals).save(tmp_path / 'normals/a.png', exif=exif)
    with pytest.raises(LabelError, match='vectors that would have to turn too'):
        FolderDataset(dict(normals=dict(type='SurfaceNormals')), root)[0]


def test_pictures_that_are_not_read_are_told(tmp_path, said):  # noqa: F811
    root = write(tmp_path, **{'semseg/a.png': IDS})
    for name in ('c.cr2', 'list.txt'):
        (tmp_path / 'images' / name).touch()
    FolderDataset(SEMSEG, root)
    assert any('1 pictures in' in line and 'c.cr2' in line for line in said)
    with pytest.warns(UserWarning, match=r'1 pictures are left out, for example c\.cr2'):
        assert len(gather_inputs(str(tmp_path / 'images'))) == 2


def test_classes_of_a_label_map_are_near_those_of_the_run(tmp_path, said):  # noqa: F811
    root = write(tmp_path, **{'semseg/a.png': IDS, 'semseg/b.png': IDS})
    for labels, told in ((dict(a=['semsegs'], b=['semseg']), 1), (dict(a=['semseg'], b=['semseg', 'depth']), 0)):
        (tmp_path / 'map.json').write_text(json.dumps(labels))
        said.clear()
        FolderDataset(SEMSEG, root, label_sampler=dict(type='LabelMap', path=str(tmp_path / 'map.json'), absent='drop'))
        assert sum("['semsegs'], which this run does not ask for" in line for line in said) == told
    (tmp_path / 'map.csv').write_text('sample_id,semseg\na,1\na,0\nb,1\n')
    with pytest.raises(FileError, match="line 3: sample 'a' is listed twice"):
        FolderDataset(SEMSEG, root, label_sampler=dict(type='LabelMap', path=str(tmp_path / 'map.csv')))


def test_masks_of_0_and_255_with_another_mark_for_unknown(tmp_path):
    stored = np.where(IDS == 2, 128, MASK * 255).astype(np.uint8)
    root = write(tmp_path, **{'saliency/a.png': stored})
    config = dict(type='FolderDataset', tasks=SALIENCY, data_root=root, formats=dict(saliency=dict(unknown=[128])))
    indexed = make_index(config, str(tmp_path / 'i.parquet'), progress=False)
    assert indexed['state'] == dict(numbers=dict(saliency=[0, 128, 255]))
    for data in (DATASETS.build(config), IndexedDataset(str(tmp_path / 'i.parquet'), SALIENCY)):
        np.testing.assert_array_equal(label(data, 'saliency'), np.where(IDS == 2, 255, MASK))
    data = FolderDataset(SALIENCY, root, formats=dict(saliency=dict(unknown=[128, 255])))
    assert set(np.unique(label(data, 'saliency'))) == {0, 255}


def test_marks_of_unknown_in_floats_of_32_bits(tmp_path):
    depth = np.full((8, 12), 2, np.float32)
    depth[0] = 65.535
    root = write(tmp_path, **{'depth/a.npy': depth})
    seen = label(FolderDataset(DEPTH, root, formats=dict(depth=dict(unknown=[65.535]))), 'depth')
    assert np.isnan(seen[0, 0]).all() and (seen[0, 1:] == 2).all()


def test_a_class_beyond_the_last_is_not_taken_for_unknown(tmp_path):
    root = write(tmp_path, **{'semseg/a.npy': np.where(IDS == 2, 256, 1).astype(np.uint16)})
    with pytest.raises(LabelError, match=r'found \[256\]'):
        label(FolderDataset(SEMSEG, root, formats=dict(semseg=dict(offset=-1))), 'semseg')


def test_photographs_beside_the_folders_of_labels(tmp_path):
    (tmp_path / 'semseg').mkdir()
    write(tmp_path, **{'semseg/images/a.png': IDS})
    data = FolderDataset(SEMSEG, str(tmp_path), images='')
    assert [info['sample_id'] for info in data.list_samples()] == ['images/a', 'images/b']


@pytest.mark.parametrize('table', [{0.5: 0}, {0: None}, {0: 2.5}, {(0.5, 0, 0): 1}])
def test_tables_of_whole_numbers(tmp_path, table):
    with pytest.raises(ConfigError, match='expected a (number|class)'):
        FolderDataset(SEMSEG, write(tmp_path, **{'semseg/a.png': IDS}), formats=dict(semseg=dict(values=table)))


def test_train_ids_of_cityscapes_are_told(tmp_path, said):  # noqa: F811
    streets = dict(semseg=dict(type='SemanticSegmentation', classes=19))
    root = write(tmp_path, **{'semseg/a.png': IDS + 7})
    FolderDataset(streets, root, formats=dict(semseg=dict(values='cityscapes')))
    assert any('up to 9 alone, as those of train ids' in line for line in said)
    said.clear()
    FolderDataset(
        streets, write(tmp_path, **{'semseg/b.png': IDS + 21}), formats=dict(semseg=dict(values='cityscapes'))
    )
    assert not said
