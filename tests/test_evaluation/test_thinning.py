"""Thinning against scikit-image's, which is an independent implementation of the same conditions."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from skimage.morphology import thin as reference

from mmmtl.evaluation.functional.boundary.thinning import thin


def test_every_neighbourhood():
    for code in range(512):
        mask = np.zeros((5, 5), bool)
        mask[1:4, 1:4] = np.array([code >> k & 1 for k in range(9)]).reshape(3, 3)
        np.testing.assert_array_equal(thin(mask), reference(mask))


@pytest.mark.parametrize('seed', range(30))
def test_random_maps(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    mask = rng.random((height, width)) < rng.random()
    if seed % 2:
        mask = cv2.dilate(mask.astype(np.uint8), np.ones((rng.integers(1, 5),) * 2)).astype(bool)
    np.testing.assert_array_equal(thin(mask), reference(mask))
    np.testing.assert_array_equal(thin(mask.astype(np.float32) * 7), reference(mask))


def test_blobs():
    noise = cv2.GaussianBlur(np.random.default_rng(0).random((120, 150)).astype(np.float32), (0, 0), 4)
    np.testing.assert_array_equal(thin(noise > noise.mean()), reference(noise > noise.mean()))
