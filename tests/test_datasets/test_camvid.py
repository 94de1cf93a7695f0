"""CamVid: the SegNet packing, void, and boundaries drawn from the classes."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from mmmtl.datasets import CamVid
from mmmtl.datasets.io.derived import boundary_of_classes
from mmmtl.errors import LabelError

TASKS = dict(semseg=dict(type='SemanticSegmentation', classes=11), boundary=dict(type='Boundary'))


@pytest.fixture
def root(tmp_path):
    classes = np.zeros((24, 32), np.uint8)
    classes[:, 16:] = 3
    classes[18:] = 11
    for split, count in (('train', 3), ('test', 1)):
        for name in (split, f'{split}annot'):
            (tmp_path / name).mkdir()
        for k in range(count):
            cv2.imwrite(str(tmp_path / split / f'{split}{k}.jpg'), np.full((24, 32, 3), 40 * k, np.uint8))
            cv2.imwrite(str(tmp_path / f'{split}annot' / f'{split}{k}.png'), classes)
    return tmp_path


def test_void_is_unknown(root):
    data = CamVid(TASKS, str(root))
    assert len(data) == 3 and len(CamVid(TASKS, str(root), split='test')) == 1
    results = data[0]
    semseg, boundary = results['gt']['semseg'], results['gt']['boundary']
    assert (semseg[18:] == 255).all() and set(np.unique(semseg[:18])) == {0, 3}
    assert (boundary[17:] == 255).all() and set(np.unique(boundary[:17])) == {0, 1}
    assert set(boundary[1:16].sum(1)) == {1}  # one line, one pixel wide
    assert set(np.where(boundary[:17] == 1)[1]) <= {15, 16}


def test_boundary_is_the_thinned_laplacian():
    """Against the recipe of the specification written out, on random regions."""
    from skimage.morphology import thin

    small = np.random.default_rng(0).integers(0, 5, (8, 8)).astype(np.uint8)
    classes = cv2.resize(small, (48, 48), interpolation=cv2.INTER_NEAREST)
    padded = np.pad(classes.astype(int), 1, mode='reflect')
    laplacian = padded[:-2, 1:-1] + padded[2:, 1:-1] + padded[1:-1, :-2] + padded[1:-1, 2:] - 4 * padded[1:-1, 1:-1]
    np.testing.assert_array_equal(boundary_of_classes(classes), thin(np.abs(laplacian) > 0))


def test_errors_name_the_place(root):
    with pytest.raises(
        FileNotFoundError, match=r"CamVid: no folder .*/trian \(data_root holds \['test', 'testannot', 'train'"
    ):
        CamVid(TASKS, str(root), split='trian')
    cv2.imwrite(str(root / 'trainannot' / 'train0.png'), np.full((24, 32), 40, np.uint8))
    (root / 'trainannot' / 'train1.png').unlink()
    (root / 'train' / 'train2.jpg').write_bytes(b'no picture')
    data = CamVid(TASKS, str(root))
    with pytest.raises(LabelError, match=r"train0.png: task 'semseg' of sample 'train0'.*expected classes 0..10"):
        data[0]
    with pytest.raises(LabelError, match=r"train1.png: task 'semseg'.*no such file"):
        data[1]
    with pytest.raises(ValueError, match=r'train2\.jpg: expected an image, found a file that cannot be read'):
        data[2]


def test_on_the_real_photographs(shared_dir):
    root = shared_dir / 'data' / 'camvid_240x180'
    if not root.is_dir():
        pytest.skip(f'no {root}')
    sizes = {s: len(CamVid(TASKS, str(root), split=s)) for s in ('train', 'val', 'test')}
    assert sizes == dict(train=367, val=101, test=233)
    data = CamVid(TASKS, str(root), split='val')
    for k in range(0, 101, 20):
        labels = data[k]['gt']
        assert labels['semseg'].shape == labels['boundary'].shape == (180, 240)
        assert 0.01 < (labels['boundary'] == 1).mean() < 0.25
