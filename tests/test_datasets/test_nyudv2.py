"""NYUDv2 on a miniature in its published layout."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.datasets import NYUDv2
from mmmtl.errors import LabelError
from tests.miniatures import write_nyudv2

TASKS = dict(
    semseg=dict(type='SemanticSegmentation', classes=40),
    depth=dict(type='Depth'),
    normals=dict(type='SurfaceNormals'),
    boundary=dict(type='Boundary'),
)


@pytest.mark.parametrize('split', ['train', 'val'])
def test_every_label(tmp_path, split):
    truth = write_nyudv2(tmp_path)
    data = NYUDv2(TASKS, str(tmp_path), split=split)
    assert len(data) == dict(train=5, val=4)[split]
    for k in range(len(data)):
        results = data[k]
        want, gt = truth[results['sample_id']], results['gt']
        holes = want['holes']
        np.testing.assert_array_equal(gt['semseg'], np.where(holes, 255, want['semseg']))
        assert (gt['semseg'][~holes] < 40).all()
        np.testing.assert_array_equal(gt['depth'][0], np.where(holes, np.nan, want['depth']))
        np.testing.assert_array_equal(np.isnan(gt['normals']).all(0), holes)
        assert np.nanmax(np.abs(gt['normals'] - want['normals'])) < 0.005
        np.testing.assert_array_equal(gt['boundary'], want['boundary'])


def test_the_test_protocol_crops_back(tmp_path):
    """Padded to the network's size; the labels stay as they are and the sample says where the photograph lies."""
    write_nyudv2(tmp_path)
    pipeline = [dict(type='CentredPad', size=(64, 96)), dict(type='PackMTLInputs')]
    data = NYUDv2(TASKS, str(tmp_path), split='val', test_mode=True, pipeline=pipeline)
    packed, plain = data[0], NYUDv2(TASKS, str(tmp_path), split='val')[0]
    sample = packed['data_samples']
    left, right, top, bottom = sample.metainfo['padding']
    inner = packed['inputs'][:, top : 64 - bottom, left : 96 - right]
    assert inner.shape[1:] == sample.metainfo['ori_shape'] == sample.gt.shape == (60, 80)
    restored = inner.permute(1, 2, 0).numpy()
    np.testing.assert_allclose(restored, plain['img'], atol=1e-3)


def test_faulty_depth(tmp_path):
    write_nyudv2(tmp_path)
    np.save(tmp_path / 'depth' / '0.npy', np.zeros((60, 80), np.int32))
    with pytest.raises(LabelError, match=r"depth/0.npy: task 'depth'.*expected metres as float \(H, W\), found int32"):
        NYUDv2(TASKS, str(tmp_path))[0]
