"""The data preprocessor: stacking, normalising with a clean frame, gathering labels per task."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mmmtl.errors import ConfigError, UserError
from mmmtl.models import MTLDataPreprocessor
from mmmtl.models.data_preprocessor import labels_on_input
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import build_tasks

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


def test_padding_holds_the_mean_colour_as_when_a_pipeline_normalises_before_padding():
    """The order of the published recipes: normalise, then pad with 0."""
    from mmmtl.registry import TRANSFORMS

    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    normalised = (image.astype(np.float32) / np.float32(255) - np.float32(MEAN)) / np.float32(STD)
    early = torch.from_numpy(np.pad(normalised, ((1, 2), (0, 1), (0, 0)))).permute(2, 0, 1)
    pad = TRANSFORMS.build(dict(type='CentredPad', size=(8, 8)))
    results = pad(dict(img=image, gt={}, tasks={}, padding=(0,) * 4, sample_id='x'))
    packed = torch.from_numpy(results['img']).permute(2, 0, 1)
    assert packed.dtype == torch.uint8
    data = dict(inputs=[packed], data_samples=[sample('x', (8, 8), results['padding'])])
    late = MTLDataPreprocessor()(data)['inputs'][0]
    assert torch.equal(early, late)


def test_sizes_are_made_equal_at_the_right_and_bottom():
    samples = [sample('a', (6, 8), (1, 1, 0, 0), depth=depth((6, 8), 1)), sample('b', (9, 5), depth=depth((9, 5), 2))]
    inputs = [torch.full((2, 3, 6, 8), 200.0), torch.full((2, 3, 9, 5), 200.0)]
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


def photograph(*shape, low=0.0, high=255.0):
    """Float values from ``low`` to ``high``."""
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)) * (high - low) + low


UNNORMALISED = dict(mean=None, std=None)


@pytest.mark.parametrize(
    'options, inputs, text',
    [
        ({}, [photograph(3, 4, 4, low=-2.1, high=2.6)], 'already normalised.*in the pipeline.*model.data_preprocessor'),
        ({}, [photograph(3, 4, 4, low=-1, high=1)], 'already normalised'),
        ({}, [photograph(3, 4, 4, low=0.1, high=2.6)], 'of another range'),
        ({}, [photograph(3, 4, 4, low=-120, high=130)], 'already normalised'),
        ({}, [photograph(3, 4, 4, high=1)], r'in \[0, 1\].*no division by 255.*model.data_preprocessor'),
        ({}, [photograph(3, 4, 4, high=65535)], 'of another range'),
        ({}, [torch.zeros(3, 4, 4, dtype=torch.int32)], 'uint8 or float'),
        (
            {},
            [photograph(1, 4, 4)],
            r'3 channels.*found \(1, 4, 4\).*data set loads, or mean and std of model.data_pre',
        ),
        ({}, [photograph(4, 4, 4)], r'3 channels.*found \(4, 4, 4\)'),
        ({}, [photograph(3, 3, 4, 4)], r'3 channels.*found \(3, 3, 4, 4\)'),
        ({}, [photograph(3, 4, 4).index_fill(1, torch.tensor([2]), float('nan'))], 'not finite'),
        ({}, [photograph(3, 4, 4).index_fill(1, torch.tensor([2]), float('inf'))], 'not finite'),
        (UNNORMALISED, [torch.zeros(3, 4, 4, dtype=torch.uint8)], 'neither the pipeline nor model.data_preprocessor'),
        (UNNORMALISED, [photograph(3, 4, 4)], 'not normalised.*leaves that to the pipeline.*mean and std'),
        ({}, [photograph(3, 4, 4), photograph(2, 3, 4, 4)], 'image 0 of the batch has one frame.*second_frame'),
        (dict(frames=2), [photograph(3, 4, 4)], "model's tasks need two.*frames=2 in the data set.*'duplicate'"),
        (dict(std=None), [], 'both mean and std'),
        (dict(std=(1, 1)), [], 'must be as long'),
        (dict(size_divisor=0), [], 'size_divisor'),
    ],
)
def test_what_it_refuses(options, inputs, text):
    with pytest.raises(UserError, match=text):
        MTLDataPreprocessor(**options)(dict(inputs=inputs))


def test_dark_photographs_are_no_mistake():
    """A black one, one of whole numbers, and a dark one among others pass; so does a cubic resize that overshoots."""
    dark = photograph(3, 4, 4, high=0.9)
    for batch in ([torch.zeros(3, 4, 4)], [photograph(3, 4, 4, high=3).round()], [dark, photograph(3, 4, 4)]):
        assert MTLDataPreprocessor()(dict(inputs=batch))['inputs'].isfinite().all()
    assert MTLDataPreprocessor()(dict(inputs=[photograph(3, 4, 4, low=-20, high=270)]))['inputs'].max() < 3


def test_frames_as_the_model_needs_them():
    one, two = photograph(3, 4, 4), photograph(2, 3, 4, 4)
    first = MTLDataPreprocessor(frames=1)(dict(inputs=[one, two]))['inputs']
    assert first.shape == (2, 3, 4, 4)
    torch.testing.assert_close(first[1], MTLDataPreprocessor()(dict(inputs=[two[0]]))['inputs'][0])
    both = MTLDataPreprocessor(second_frame='duplicate')(dict(inputs=[one, two]))['inputs']
    assert both.shape == (2, 2, 3, 4, 4) and torch.equal(both[0, 0], both[0, 1])
    assert not torch.equal(both[1, 0], both[1, 1])
    assert MTLDataPreprocessor(frames=2, second_frame='duplicate')(dict(inputs=[one]))['inputs'].shape == (1, 3, 4, 4)


def test_a_label_larger_than_its_image_is_named():
    samples = [sample('tall', (4, 4), depth=depth((8, 4), 1))]
    with pytest.raises(ValueError, match=r"sample 'tall', task 'depth': label \(8, 4\) is larger"):
        MTLDataPreprocessor()(dict(inputs=[torch.zeros(3, 4, 4)], data_samples=samples), True)


def test_a_batch_that_is_prepared_twice_is_the_same_batch():
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randint(1, 256, (3, h, w), dtype=torch.uint8, generator=generator) for h, w in ((6, 8), (5, 7))]
    samples = [sample('a', (6, 8), (1, 2, 0, 1)), sample('b', (5, 7))]
    prepare = MTLDataPreprocessor(size_divisor=4)
    first = prepare(dict(inputs=inputs, data_samples=samples))
    paddings = [s.padding for s in first['data_samples']]
    assert paddings == [(1, 2, 0, 3), (0, 1, 0, 3)]
    again = prepare(dict(inputs=inputs, data_samples=samples))
    assert torch.equal(again['inputs'], first['inputs'])
    assert [s.padding for s in again['data_samples']] == paddings
    alone = prepare(dict(inputs=inputs[1:], data_samples=[samples[1].clone()]))
    assert torch.equal(alone['inputs'][0], first['inputs'][1]) and alone['data_samples'][0].padding == (0, 1, 0, 3)


def test_labels_of_a_test_sample_come_to_the_grid_of_the_input():
    tasks = build_tasks(dict(depth=dict(type='Depth'), semseg=dict(type='SemanticSegmentation', classes=4)))
    made = sample('a', (8, 12), (1, 3, 2, 0), depth=np.arange(12, dtype=np.float32).reshape(1, 3, 4))
    made.gt = dict(depth=made.gt.depth, semseg=np.arange(12).reshape(3, 4) % 4)
    found = labels_on_input(made, tasks, torch.zeros(1, 3, 8, 12))
    index, label = found['depth']
    assert index.tolist() == [0] and label.shape == (1, 1, 8, 12)
    inner = label[0, 0, 2:, 1:-3]
    assert torch.equal(inner, torch.arange(12.0).reshape(3, 4).repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert label.isnan().sum() == 8 * 12 - 6 * 8
    assert (found['semseg'][1] == 255).sum() == 8 * 12 - 6 * 8 and found['semseg'][1].shape == (1, 8, 12)


def test_a_batch_that_nobody_packed_is_named():
    with pytest.raises(ConfigError, match='PackMTLInputs'):
        MTLDataPreprocessor()(dict(img=[]))


def test_padding_is_told_where_nobody_gave_data_samples():
    inputs = [torch.zeros(3, 4, side, dtype=torch.uint8) for side in (6, 8)]
    samples = MTLDataPreprocessor()(dict(inputs=inputs))['data_samples']
    assert [sample.metainfo.get('padding') for sample in samples] == [(0, 2, 0, 0), None]
