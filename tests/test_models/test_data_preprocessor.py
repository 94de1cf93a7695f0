"""The data preprocessor: stacking, normalising with a clean frame, gathering labels per task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmmtl.models import MTLDataPreprocessor
from mmmtl.structures import MTLDataSample

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def sample(name, size, padding=(0, 0, 0, 0), **labels):
    made = MTLDataSample(metainfo=dict(sample_id=name, padding=padding, img_shape=size))
    made.gt = labels
    return made


def depth(size, value):
    return np.full((1, *size), value, np.float32)


def test_targets_hold_the_labelled_samples_only():
    size = (6, 8)
    samples = [
        sample('a', size, depth=depth(size, 1), semseg=np.full(size, 3)),
        sample('b', size),
        sample('c', size, depth=depth(size, 2)),
    ]
    inputs = [torch.zeros(3, *size) for _ in samples]
    batch = MTLDataPreprocessor()(dict(inputs=inputs, data_samples=samples), training=True)
    assert batch['inputs'].shape == (3, 3, 6, 8)
    index, label = batch['targets']['depth']
    assert index.tolist() == [0, 2] and label.shape == (2, 1, 6, 8) and label[:, 0, 0, 0].tolist() == [1, 2]
    index, label = batch['targets']['semseg']
    assert index.tolist() == [0] and label.shape == (1, 6, 8) and label.dtype == torch.int64
    assert list(batch['targets']) == ['depth', 'semseg']  # by name: a fixed order of summation
    assert 'targets' not in MTLDataPreprocessor()(dict(inputs=inputs, data_samples=samples))
    assert MTLDataPreprocessor()(dict(inputs=inputs))['data_samples'] is None


def test_normalising_here_or_in_the_pipeline_is_the_same():
    from mmmtl.registry import TRANSFORMS

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    steps = [TRANSFORMS.build(c) for c in (dict(type='Normalize'), dict(type='CentredPad', size=(8, 8)))]
    results = dict(img=image, gt={}, tasks={}, padding=(0,) * 4, sample_id='x')
    for step in steps:
        results = step(results)
    early = torch.from_numpy(results['img']).permute(2, 0, 1)
    results = steps[1](dict(img=image, gt={}, tasks={}, padding=(0,) * 4, sample_id='x'))
    packed = torch.from_numpy(results['img']).permute(2, 0, 1)
    assert packed.dtype == torch.uint8
    data = dict(inputs=[packed], data_samples=[sample('x', (8, 8), results['padding'])])
    late = MTLDataPreprocessor(MEAN, STD)(data)['inputs'][0]
    assert torch.equal(early, late)


def test_sizes_are_made_equal_at_the_right_and_bottom():
    samples = [sample('a', (6, 8), (1, 1, 0, 0), depth=depth((6, 8), 1)), sample('b', (9, 5), depth=depth((9, 5), 2))]
    inputs = [torch.ones(2, 3, 6, 8), torch.ones(2, 3, 9, 5)]
    batch = MTLDataPreprocessor(size_divisor=4)(dict(inputs=inputs, data_samples=samples), training=True)
    assert batch['inputs'].shape == (2, 2, 3, 12, 8)
    assert batch['inputs'][1, :, :, 9:].abs().max() == 0 and batch['inputs'][1, :, :, :, 5:].abs().max() == 0
    assert [s.metainfo['padding'] for s in batch['data_samples']] == [(1, 1, 0, 6), (0, 3, 0, 3)]
    assert all(s.metainfo['img_shape'] == (12, 8) for s in batch['data_samples'])
    assert samples[1].metainfo['padding'] == (0, 0, 0, 0)  # the caller's samples are left alone
    label = batch['targets']['depth'][1]
    assert label.shape == (2, 1, 12, 8) and label[1, 0, 9:].isnan().all() and (label[1, 0, :9, :5] == 2).all()


def test_categorical_padding_is_unknown():
    samples = [sample('a', (2, 2), semseg=np.ones((2, 2), np.int64)), sample('b', (4, 4))]
    inputs = [torch.ones(3, 2, 2), torch.ones(3, 4, 4)]
    label = MTLDataPreprocessor()(dict(inputs=inputs, data_samples=samples), True)['targets']['semseg'][1]
    assert label[0].tolist() == [[1, 1, 255, 255]] * 2 + [[255] * 4] * 2


@pytest.mark.parametrize(
    'options, inputs, text',
    [
        ({}, [torch.zeros(3, 4, 4, dtype=torch.uint8)], 'uint8 images, but neither'),
        ({}, [torch.zeros(3, 4, 4), torch.zeros(2, 3, 4, 4)], 'must be all'),
        (dict(mean=MEAN), [], 'both mean and std'),
        (dict(size_divisor=0), [], 'size_divisor'),
    ],
)
def test_what_it_refuses(options, inputs, text):
    with pytest.raises(ValueError, match=text):
        MTLDataPreprocessor(**options)(dict(inputs=inputs))


def test_a_label_larger_than_its_image_is_named():
    samples = [sample('tall', (4, 4), depth=depth((8, 4), 1))]
    with pytest.raises(ValueError, match=r"sample 'tall', task 'depth': label \(8, 4\) is larger"):
        MTLDataPreprocessor()(dict(inputs=[torch.zeros(3, 4, 4)], data_samples=samples), True)
