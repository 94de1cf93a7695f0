"""Transforms of StableMTL's recipe: picked pixels, colour jitter, vertical flips, named sample ids."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmmtl.datasets.transforms import ColorJitter, PrefixSampleId, RandomVerticalFlip, ResampleNearest
from mmmtl.datasets.transforms.resample import nearest_exact


@pytest.mark.parametrize(
    'old, new',
    [
        (375, 187),
        (1242, 621),
        (768, 288),
        (1024, 384),
        (536, 268),
        (960, 480),
        (352, 176),
        (1000, 256),
        (1500, 384),
        (7, 20),
        (5, 5),
    ],
)
def test_nearest_exact_is_that_of_torch(old, new):
    want = F.interpolate(torch.arange(old, dtype=torch.float64)[None, None], new, mode='nearest-exact')[0, 0]
    np.testing.assert_array_equal(nearest_exact(old, new), want.numpy())


def test_resample(make_results):
    results = make_results((40, 50))
    before = {n: g.copy() for n, g in results['gt'].items()}
    image = results['img'].copy()
    results['test_mode'] = True
    ResampleNearest((17, 23))(results)
    assert results['ori_shape'] == results['img_shape'] == (17, 23) and results['scale_factor'] == (1.0, 1.0)

    def pick(maps):
        planes = torch.from_numpy(maps.astype(np.float64)).reshape(1, -1, 40, 50)
        return F.interpolate(planes, (17, 23), mode='nearest-exact')[0].numpy()

    np.testing.assert_array_equal(results['img'].transpose(2, 0, 1), pick(image.transpose(2, 0, 1)))
    assert results['img_next'].shape == (17, 23, 3)
    for name, label in before.items():  # motion too keeps its values
        np.testing.assert_array_equal(results['gt'][name].reshape(-1, 17, 23), pick(label))
        assert results['gt'][name].dtype == label.dtype


def test_vertical_flip(make_results):
    results = make_results(names=('optical_flow', 'depth', 'normals'), known=1.0)
    before = {n: g.copy() for n, g in results['gt'].items()}
    RandomVerticalFlip(1.0)(results)
    np.testing.assert_array_equal(results['gt']['depth'], before['depth'][:, ::-1])
    for name in ('optical_flow', 'normals'):
        signs = np.array([1, -1, 1][: len(before[name])])[:, None, None]
        np.testing.assert_array_equal(results['gt'][name], before[name][:, ::-1] * signs)
    kept = make_results(names=('depth',))
    image = kept['img'].copy()
    np.testing.assert_array_equal(RandomVerticalFlip(0.0)(kept)['img'], image)


def test_jitter(make_results):
    results = make_results(names=('depth',))
    results['img_next'] = results['img'].copy()
    first, depth = results['img'].copy(), results['gt']['depth'].copy()
    ColorJitter(0.4, 0.4, 0.2, 0.1)(results)
    assert results['img'].dtype == np.uint8 and (results['img'] != first).mean() > 0.5
    np.testing.assert_array_equal(results['img'], results['img_next'])
    np.testing.assert_array_equal(results['gt']['depth'], depth)
    # brightness alone is a factor, drawn first
    only = make_results(seed=3)
    image, factor = only['img'].copy(), random.Random(3).uniform(0.5, 1.5)
    found = ColorJitter(brightness=0.5)(only)['img']
    assert np.abs(found - (image * factor).clip(0, 255)).max() <= 1.5


def test_prefix_and_arguments(make_results):
    assert PrefixSampleId('kitti')(make_results())['sample_id'] == 'kitti/made 0'
    with pytest.raises(ValueError, match="without '/'"):
        PrefixSampleId('a/b')
    with pytest.raises(ValueError, match=r'hue must lie in \[0, 0.5\], got 0.7'):
        ColorJitter(hue=0.7)
    with pytest.raises(ValueError, match=r'prob must lie in \[0, 1\]'):
        RandomVerticalFlip(2)
