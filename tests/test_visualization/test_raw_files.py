"""Predictions come back from files as they were; photographs come back from the network's input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mmmtl.datasets.io.memory import original_photograph
from mmmtl.structures import MTLDataSample
from mmmtl.visualization import input_photograph, read_raw, write_raw


@pytest.mark.parametrize(
    'values, suffix',
    [
        (np.arange(12).reshape(1, 3, 4), '.png'),
        (np.arange(12).reshape(3, 4) * 1000, '.png'),
        (np.arange(12).reshape(1, 3, 4) * 100000, '.npy'),
        (np.array([[[-1, 2]]]), '.npy'),
        (np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32), '.npy'),
        (np.array([[[np.nan, 1e-30]]], np.float32), '.npy'),
    ],
)
def test_raw_predictions_come_back_as_they_were(tmp_path, values, suffix):
    path = write_raw(str(tmp_path), 'x/1', {'task': values})[0]
    assert path == str(tmp_path / 'task' / f'x%2F1{suffix}')
    back = read_raw(path)
    np.testing.assert_array_equal(back.reshape(values.shape), values)
    assert np.issubdtype(back.dtype, np.integer) == np.issubdtype(values.dtype, np.integer)


def test_reading_a_raw_file_that_is_none(tmp_path):
    (tmp_path / 'a.png').write_text('no')
    with pytest.raises(FileNotFoundError, match='cannot be read as an image'):
        read_raw(str(tmp_path / 'a.png'))


def test_the_photograph_is_what_the_network_saw():
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    inputs = torch.from_numpy(image).permute(2, 0, 1)
    padded = torch.nn.functional.pad(inputs, (1, 2, 3, 4))
    for seen in (padded, padded.float()):
        np.testing.assert_array_equal(input_photograph(seen, dict(padding=(1, 2, 3, 4)))[0], image)
    np.testing.assert_array_equal(input_photograph(torch.stack([inputs, inputs.flip(-1)]), {})[1], image[:, ::-1])
    stretched = input_photograph(inputs / 255 - 0.5, {})[0]  # a pipeline that normalises by itself
    assert stretched.min() == 0 and stretched.max() == 255


def test_images_of_0_to_1_are_no_night():
    assert input_photograph(torch.linspace(0, 1, 48).reshape(3, 4, 4), {})[0].max() == 255


def test_the_original_photograph_if_there_is_one(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / 'a.png')
    (tmp_path / 'b.png').write_text('no')
    paths = {'a.png': image, 'b.png': None, 'c.png': None}
    for name, expected in paths.items():
        seen = original_photograph(MTLDataSample(metainfo=dict(img_path=str(tmp_path / name))))
        assert (seen is None) if expected is None else np.array_equal(seen, expected)
    assert original_photograph(MTLDataSample()) is None
    cut = MTLDataSample(metainfo=dict(img_path=str(tmp_path / 'a.png'), ori_shape=(4, 8)))
    assert original_photograph(cut) is None  # predictions would not lie on it
