"""Pipelines that would change images and labels apart, or images that are to be measured."""

from __future__ import annotations

import random
import warnings

import cv2
import numpy as np
import pytest
import tifffile

from mmmtl.datasets import MixedDataset, RepeatDataset
from mmmtl.datasets.io.pictures import read_image
from mmmtl.errors import ConfigError
from mmmtl.registry import TRANSFORMS

from .test_folder_mistakes import said  # noqa: F401 - a fixture

TASKS = dict(semseg=dict(type='SemanticSegmentation', classes=12))
PACK = dict(type='PackMTLInputs')


@pytest.mark.parametrize(
    'steps, words',
    [
        ([PACK, dict(type='RandomFlip')], r'pipeline\.0: PackMTLInputs is the last step, found RandomFlip'),
        ([PACK, PACK], 'PackMTLInputs is the last step'),
        ([dict(type='RandomCrop', size=(8, 8), max_ratio=75)], r'share in \(0, 1\], got 75'),
        ([dict(type='CentredPad', multiple=0)], 'at least 1, got 0'),
        ([dict(type='Resize', multiple=-8)], 'at least 1, got -8'),
        ([dict(type='PhotoMetricDistortion', hue_delta=0)], 'hue_delta must be at least 1'),
        ([dict(type='PhotoMetricDistortion', contrast_range=(1.5, 0.5))], 'low <= high'),
    ],
)
def test_pipelines_that_cannot_work(memory, steps, words):
    with pytest.raises(ConfigError, match=words):
        memory(TASKS, pipeline=steps)


def test_transforms_that_labels_do_not_follow_are_refused(memory):
    pytest.importorskip('mmcv')
    with pytest.raises(ConfigError, match=r'pipeline\.0: RandomFlip is a transform of mmcv.*ColourStep'):
        memory(TASKS, pipeline=[dict(type='mmcv.RandomFlip', prob=1.0), PACK])
    colours = dict(type='ColourStep', transform=dict(type='mmseg.PhotoMetricDistortion'))
    assert len(memory(TASKS, pipeline=[colours, PACK])) == 8


def test_random_steps_in_a_test_are_told(memory, said):  # noqa: F811
    memory(TASKS, pipeline=[dict(type='RandomFlip'), PACK])
    memory(TASKS, pipeline=[dict(type='Resize', multiple=8), PACK], test_mode=True)
    assert not said
    memory(TASKS, pipeline=[dict(type='RandomFlip'), dict(type='ColorJitter'), PACK], test_mode=True)
    assert len(said) == 1 and 'RandomFlip, ColorJitter change the images at random' in said[0]


def test_padding_grows_with_the_image(make_results):
    results = make_results(size=(12, 20), names=['semseg'])
    results |= dict(test_mode=True, img=np.full((12, 20, 3), 200, np.uint8))
    for step in (dict(type='CentredPad', size=(24, 40)), dict(type='Resize', size=(48, 60))):
        results = TRANSFORMS.build(step)(results)
    left, right, top, bottom = results['padding']
    assert (left, right, top, bottom) == (15, 15, 12, 12)
    assert (results['img'][top + 1 : 48 - bottom - 1, left + 1 : 60 - right - 1] == 200).all()
    assert (results['img'][: top - 1] == 0).all() and (results['img'][:, 60 - right + 1 :] == 0).all()
    results['rng'] = random.Random(0)
    with pytest.raises(ConfigError, match='nothing may be padded before'):
        TRANSFORMS.build(dict(type='ResampleNearest', size=(6, 10)))(results)


def test_sets_with_other_classes_are_not_mixed(memory):
    def named(names):
        return memory(dict(semseg=dict(type='SemanticSegmentation', classes=names)))

    MixedDataset([named(12), named(12)])
    with pytest.raises(ConfigError, match="task 'semseg' has other classes, or another order"):
        MixedDataset([named(list('abcdefghijkl')), named(list('lkjihgfedcba'))])


def test_classes_of_a_data_set_keep_their_order(memory):
    names = list('abcdefghijkl')
    data = memory(dict(semseg=dict(type='SemanticSegmentation', classes=names)), metainfo=dict(classes=names))
    assert data.tasks['semseg'].classes == names
    with pytest.raises(
        ConfigError, match=r"tasks\['semseg'\].classes: the same classes as those of Memory, in another order"
    ):
        memory(dict(semseg=dict(type='SemanticSegmentation', classes=names[::-1])), metainfo=dict(classes=names))


def test_shares_and_repetitions_are_numbers(memory):
    data = memory(TASKS)
    with pytest.raises(ConfigError, match='expected 2 weights of at least 0'):
        MixedDataset([data, data], weights=[1, float('inf')])
    with pytest.raises(ConfigError, match='times must be a whole number of at least 1, got 0'):
        RepeatDataset(data, 0)


# ---- photographs ---------------------------------------------------------------------------------------------------
GREY = np.arange(240, dtype=np.uint8).reshape(12, 20)


@pytest.mark.parametrize('kind, white', [(np.int32, 255), (np.int16, 255), (np.float32, 0.00239)])
def test_numbers_of_fewer_bits_than_their_type_are_told(tmp_path, kind, white):
    stored = GREY.astype(kind) / kind(1e5) if kind == np.float32 else GREY.astype(kind)
    tifffile.imwrite(tmp_path / 'a.tif', stored)
    with pytest.warns(UserWarning, match=f'read as nearly black.*white_point={white}'):
        read_image(tmp_path / 'a.tif')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read_image(tmp_path / 'a.tif', white=white).max() > 230


def test_a_white_point_is_for_more_than_8_bits(tmp_path):
    tifffile.imwrite(tmp_path / 'deep.tif', GREY.astype(np.uint16) * 16)
    tifffile.imwrite(tmp_path / 'plain.tif', GREY)
    deep, plain = (read_image(tmp_path / f'{name}.tif', white=4095) for name in ('deep', 'plain'))
    np.testing.assert_array_equal(plain[..., 0], GREY)
    np.testing.assert_allclose(deep, plain, atol=1)
    with pytest.warns(UserWarning, match='none above 239 and is read as nearly black'):
        tifffile.imwrite(tmp_path / 'dark.tif', GREY.astype(np.uint16))
        read_image(tmp_path / 'dark.tif', white=4095)


@pytest.mark.parametrize('factor', [1, 257])
def test_palettes_of_tiffs_have_8_or_16_bits(tmp_path, factor):
    table = np.arange(3 * 256).reshape(3, 256) % 256
    tifffile.imwrite(tmp_path / 'a.tif', GREY, photometric='palette', colormap=(table * factor).astype(np.uint16))
    np.testing.assert_array_equal(read_image(tmp_path / 'a.tif'), table.T[GREY])


@pytest.mark.parametrize('chosen, found', [(0, '0'), ([], r'\[\]'), ([7, 8], '8'), ([-9], '-9')])
def test_places_of_samples_that_there_are_not(memory, chosen, found):
    with pytest.raises(
        ConfigError, match=f'Memory.indices: expected places of the 8 samples, or how many, found {found}'
    ):
        memory(TASKS, indices=chosen)
    assert [len(memory(TASKS, indices=some)) for some in (3, 99, [7, -8])] == [3, 8, 2]


def test_a_photograph_of_several_pages_is_told(tmp_path):
    tifffile.imwrite(tmp_path / 'a.tif', np.stack([GREY, GREY, GREY]), photometric='minisblack')
    with pytest.warns(UserWarning, match=r'a\.tif: holds 3 pages'):
        read_image(tmp_path / 'a.tif')
    cv2.imwrite(str(tmp_path / 'b.tif'), np.dstack([GREY] * 3))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert read_image(tmp_path / 'b.tif').shape == (12, 20, 3)
