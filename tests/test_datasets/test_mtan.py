"""NYUDv2 and Cityscapes in the MTAN packing, and their augmentation."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmmtl.datasets import NYUDMTAN, CityscapesMTAN
from mmmtl.datasets.transforms import RandomFlip, RandomScaleCrop
from mmmtl.errors import ConfigError, LabelError
from tests.miniatures import write_mtan

DEPTH = dict(type='Depth')
NYUD = dict(semseg=dict(type='SemanticSegmentation', classes=13), depth=DEPTH, normals=dict(type='SurfaceNormals'))


def test_nyud(tmp_path):
    truth = write_mtan(tmp_path, 'nyud', train=11)
    data = NYUDMTAN(NYUD, str(tmp_path))
    assert [data.get_data_info(k)['sample_id'] for k in range(11)] == [str(k) for k in range(11)]
    for k in range(11):
        results, want = data[k], truth['train', str(k)]
        np.testing.assert_allclose(results['img'], want['img'], atol=1e-3)
        np.testing.assert_array_equal(results['gt']['semseg'], np.where(want['holes'], 255, want['label']))
        np.testing.assert_array_equal(results['gt']['depth'][0], np.where(want['holes'], np.nan, want['depth']))
        np.testing.assert_allclose(
            results['gt']['normals'], np.where(want['holes'], np.nan, want['normals']), atol=1e-6
        )
    assert len(NYUDMTAN(NYUD, str(tmp_path), split='val')) == 3


@pytest.mark.parametrize('classes', [7, 19])
def test_cityscapes(tmp_path, classes):
    truth = write_mtan(tmp_path, 'cityscapes')
    data = CityscapesMTAN(
        dict(semseg=dict(type='SemanticSegmentation', classes=classes), depth=DEPTH), str(tmp_path), classes
    )
    for k in range(len(data)):
        gt, want = data[k]['gt'], truth['train', str(k)]
        label = want['label'] if classes == 7 else want['label'] * 2 + 5
        np.testing.assert_array_equal(gt['semseg'], np.where(want['holes'], 255, label))
        np.testing.assert_array_equal(gt['depth'][0], np.where(want['holes'], np.nan, want['depth']))


def test_errors(tmp_path):
    write_mtan(tmp_path, 'nyud')
    with pytest.raises(FileNotFoundError, match=r"no folder .*test/image \(data_root holds \['train', 'val'\]"):
        NYUDMTAN(NYUD, str(tmp_path), split='test')
    with pytest.raises(ConfigError, match='7 or 19'):
        CityscapesMTAN(NYUD, str(tmp_path), 13)
    np.save(tmp_path / 'train' / 'label' / '0.npy', np.full((48, 64), 0.5))
    np.save(tmp_path / 'train' / 'image' / '1.npy', np.full((48, 64, 3), 7.0))
    np.save(tmp_path / 'train' / 'normal' / '2.npy', np.zeros((3, 48, 64)))
    np.save(tmp_path / 'train' / 'depth' / '3.npy', np.zeros((48, 64, 2)))
    data = NYUDMTAN(NYUD, str(tmp_path))
    image = r'RGB \(H, W, 3\) in \[0, 1\], found .* in \[7, 7\]'
    for k, text in enumerate(['whole numbers', image, r'expected \(H, W, 3\)', r'expected \(H, W, 1\)']):
        with pytest.raises(ValueError, match=rf'{k}\.npy.*{text}') as caught:
            data[k]
        assert isinstance(caught.value, LabelError) == (k != 1)
    np.save(tmp_path / 'train' / 'depth' / '4.npy', np.full((48, 64, 1), 2500, np.int16))
    with pytest.raises(LabelError, match='expected metres as float'):
        data.load_label(data.get_data_info(4), 'depth')
    np.save(tmp_path / 'train' / 'image' / 'odd.npy', np.zeros(1))
    with pytest.raises(ValueError, match='files named by their number'):
        NYUDMTAN(NYUD, str(tmp_path))


@pytest.mark.parametrize('seed', range(6))
def test_scale_crop_against_the_recipe_in_torch(make_results, seed):
    """MTAN's recipe written with torch's interpolation: the same draws, the same numbers."""
    results = make_results((48, 64), seed=seed, names=('semseg', 'depth', 'normals'), pair=False)
    before = {n: torch.from_numpy(g.copy()).float() for n, g in results['gt'].items()}
    image = torch.from_numpy(results['img'].copy()).permute(2, 0, 1).float()
    draw = random.Random(seed)
    factor = (1.0, 1.2, 1.5)[draw.randint(0, 2)]
    height, width = int(48 / factor), int(64 / factor)
    top, left = draw.randint(0, 48 - height), draw.randint(0, 64 - width)

    def part(x):
        return x[..., top : top + height, left : left + width].reshape(1, -1, height, width)

    RandomScaleCrop(smooth=('normals',))(results)
    smooth = F.interpolate(part(image), (48, 64), mode='bilinear', align_corners=True)
    np.testing.assert_allclose(results['img'], smooth[0].permute(1, 2, 0), atol=1e-3)
    np.testing.assert_array_equal(results['gt']['semseg'], F.interpolate(part(before['semseg']), (48, 64))[0, 0])
    depth = F.interpolate(part(before['depth']), (48, 64))[0] / factor
    np.testing.assert_allclose(results['gt']['depth'], depth, rtol=1e-6)
    normals = F.interpolate(part(before['normals']), (48, 64), mode='bilinear', align_corners=True)
    np.testing.assert_allclose(results['gt']['normals'], F.normalize(normals, dim=1)[0], atol=1e-5)
    assert results['img'].shape == (48, 64, 3) and results['img_shape'] == (48, 64)


def test_scale_crop_in_a_data_set(tmp_path):
    write_mtan(tmp_path, 'nyud')
    pipeline = [RandomScaleCrop(smooth=('normals',)), RandomFlip(), dict(type='PackMTLInputs')]
    sample = NYUDMTAN(NYUD, str(tmp_path), pipeline=pipeline)[0]
    assert sample['inputs'].shape == (3, 48, 64) and sample['inputs'].dtype == torch.float32
    length = sample['data_samples'].gt.normals.norm(dim=0)
    assert torch.allclose(length[~length.isnan()], torch.ones(()), atol=1e-5)


def test_scale_crop_arguments(make_results):
    with pytest.raises(ValueError, match='1 or more'):
        RandomScaleCrop(scales=(0.5,))
    with pytest.raises(ConfigError, match="'normal' is not a continuous task.*Did you mean 'normals'"):
        RandomScaleCrop(smooth=('normal',))(make_results())
