"""Cityscapes and KITTI in their published layouts, against the Diorama scenes they were written from."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.datasets.cityscapes import Cityscapes
from mmmtl.datasets.io.pictures import read_map
from mmmtl.datasets.kitti2015 import KITTI2015, points_of_disparity, read_camera
from mmmtl.datasets.kitti_depth import KITTIDepth, evaluation_window
from mmmtl.datasets.street_classes import STREET_CLASSES
from mmmtl.errors import ConfigError, FileError, LabelError
from mmmtl.registry import DATASETS
from mmmtl.utils.files import write_png
from tests.miniatures.streets import write_cityscapes, write_kitti2015, write_kitti_depth

SEMSEG = dict(semseg=dict(type='SemanticSegmentation', classes=STREET_CLASSES))
DEPTH = dict(depth=dict(type='Depth'))
FLOWS = dict(optical_flow=dict(type='OpticalFlow'), scene_flow=dict(type='SceneFlow'))


@pytest.mark.parametrize('upstream', [False, True])
def test_cityscapes(tmp_path, upstream):
    truth = write_cityscapes(tmp_path)
    data = Cityscapes(SEMSEG, str(tmp_path), split='val', upstream=upstream)
    assert [data.get_data_info(k)['sample_id'] for k in range(len(data))] == list(truth)
    for results in data:
        want = truth[results['sample_id']]
        np.testing.assert_array_equal(results['img'], want['img'])
        found = results['gt']['semseg']
        np.testing.assert_array_equal(found[3:], want['semseg'][3:])
        assert set(found[0]) == {255 if upstream else STREET_CLASSES.index('vehicle')}  # trucks
        assert set(found[1]) == set(found[2]) == {255}


def test_cityscapes_from_a_list(tmp_path):
    truth = write_cityscapes(tmp_path)
    name = list(truth)[1]
    (tmp_path / 'some.txt').write_text(f'leftImg8bit/val/bonn/{name}_leftImg8bit.png\n')
    data = Cityscapes(SEMSEG, str(tmp_path), 'some.txt', split='val')
    assert [info['sample_id'] for info in (data.get_data_info(k) for k in range(len(data)))] == [name]
    (tmp_path / 'bad.txt').write_text('bonn/x.png\n')
    with pytest.raises(FileError, match=r"bad.txt: expected lines that begin with 'leftImg8bit.*found 'bonn/x.png'"):
        Cityscapes(SEMSEG, str(tmp_path), 'bad.txt', split='val')


def test_other_numbers_than_label_ids_of_cityscapes_are_refused(tmp_path):
    write_cityscapes(tmp_path)
    data = Cityscapes(SEMSEG, str(tmp_path), split='val')
    path = data.get_data_info(0)['label_path']
    write_png(path, np.full(read_map(path).shape, 26001, np.uint16))
    with pytest.raises(LabelError, match=r'expected label ids of Cityscapes.*found \[26001\]'):
        data[0]


def test_cityscapes_real_label(shared_dir):
    """A photograph of Frankfurt as OpenMMLab tests with it; the train ids beside it are a second derivation."""
    from mmmtl.datasets.io.pictures import read_map

    root = shared_dir / 'data/mmseg_pseudo/tests/data/pseudo_cityscapes_dataset'
    if not root.is_dir():
        pytest.skip('no miniature of Cityscapes in the reference data')
    data = Cityscapes(SEMSEG, str(root), split='val')
    found = data[0]['gt']['semseg']
    assert data.get_data_info(0)['sample_id'] == 'frankfurt_000000_000294'
    train_ids = read_map(next(root.rglob('*_labelTrainIds.png')))
    # of the public train ids: road, building, pole, light, sign, vegetation, sky, car, truck, bus
    table = np.full(256, 255)
    table[[0, 2, 5, 6, 7, 8, 10, 13, 14, 15]] = [0, 1, 2, 3, 4, 5, 6, 7, 7, 7]
    want = table[train_ids]
    # the two files were scaled down separately and differ along some contours
    assert (found == want).mean() > 0.995
    for k in set(np.unique(want)) - {255}:
        assert (found[want == k] == k).mean() > 0.8, STREET_CLASSES[k]


@pytest.mark.parametrize('upstream, rows, columns', [(True, (101, 319), (31, 1184)), (False, (117, 321), (43, 1172))])
def test_kitti_window(tmp_path, upstream, rows, columns):
    """The window of a full-size frame, in the numbers that both orders of crop and window are known to give."""
    from tests.miniatures.streets import save_png

    image, drive = np.zeros((375, 1242, 3), np.uint8), 'a_drive_0001_sync'
    save_png(tmp_path / 'x/image_02/data/1.png', image)
    save_png(tmp_path / drive / 'proj_depth/groundtruth/image_02/1.png', np.full((375, 1242), 2560, np.uint16))
    (tmp_path / 'l.txt').write_text(f'x/image_02/data/1.png {drive}/proj_depth/groundtruth/image_02/1.png 700')
    known = np.isfinite(KITTIDepth(DEPTH, str(tmp_path), 'l.txt', upstream=upstream)[0]['gt']['depth'][0])
    want = np.zeros((352, 1216), bool)
    want[slice(*rows), slice(*columns)] = True
    np.testing.assert_array_equal(known, want)


def test_kitti_depth(tmp_path):
    truth = write_kitti_depth(tmp_path)
    data = KITTIDepth(DEPTH, str(tmp_path), 'eigen.txt', crop=(32, 80), window=None, max_depth=4.0)
    assert len(data) == len(truth) == 3
    for results in data:
        want = truth[results['sample_id']]
        np.testing.assert_array_equal(results['img'], want['img'][8:, 10:90])
        depth = want['depth'][8:, 10:90]
        np.testing.assert_allclose(results['gt']['depth'][0], np.where((depth > 0) & (depth < 4), depth, np.nan))
    whole = KITTIDepth(DEPTH, str(tmp_path), crop=None, window='garg')
    assert [whole.get_data_info(k)['sample_id'] for k in range(3)] == list(truth)
    label = whole[0]['gt']['depth'][0]
    assert np.isnan(label[~evaluation_window(40, 100, 'garg')]).all() and np.isfinite(label).any()


def test_kitti_depth_errors(tmp_path):
    write_kitti_depth(tmp_path)
    with pytest.raises(ConfigError, match="window='eigne'.*Did you mean 'eigen'"):
        KITTIDepth(DEPTH, str(tmp_path), 'eigen.txt', window='eigne')
    with pytest.raises(FileError, match='at least 352x1216 pixels .* found 40x100'):
        KITTIDepth(DEPTH, str(tmp_path), 'eigen.txt')[0]
    data = KITTIDepth(DEPTH, str(tmp_path), 'eigen.txt', crop=None)
    path = data.get_data_info(0)['label_path']
    write_png(path, (read_map(path) >> 8).astype(np.uint8))
    with pytest.raises(LabelError, match='expected a picture of uint16, found uint8'):
        data[0]
    (tmp_path / 'short.txt').write_text('only/a/photograph.png\n')
    with pytest.raises(FileError, match='short.txt: expected lines of a photograph, its depth'):
        KITTIDepth(DEPTH, str(tmp_path), 'short.txt')


@pytest.mark.parametrize('upstream', [False, True])
def test_kitti2015(tmp_path, upstream):
    truth = write_kitti2015(tmp_path)
    data = KITTI2015(FLOWS, str(tmp_path), crop=(32, 80), upstream=upstream)
    assert len(data) == 2
    for results in data:
        want = {k: v[..., 8:, 10:90] for k, v in truth[results['sample_id']].items() if k in FLOWS or k[:3] == 'no_'}
        scene = truth[results['sample_id']]
        np.testing.assert_array_equal(results['img'], scene['img'][8:, 10:90])
        np.testing.assert_array_equal(results['img_next'], scene['img_next'][8:, 10:90])
        flow, moved = results['gt']['optical_flow'], results['gt']['scene_flow']
        np.testing.assert_array_equal(np.isnan(flow[0]), want['no_points' if upstream else 'no_flow'])
        np.testing.assert_array_equal(np.isnan(moved[0]), want['no_points'])
        assert np.nanmax(np.abs(flow - want['optical_flow'])) <= 1 / 128 + 1e-6
        assert np.nanmax(np.abs(moved - want['scene_flow'])) < 0.02
        assert np.nanmax(np.abs(want['scene_flow'])) > 0.1  # the scene does move


def test_points_of_disparity_project_back():
    camera, disparity = (60.0, 49.5, 19.5), np.linspace(2, 9, 4000, dtype=np.float32).reshape(40, 100)
    x, y, z = points_of_disparity(disparity, camera)
    rows, columns = np.indices(disparity.shape)
    np.testing.assert_allclose(x / z * 60 + 49.5, columns, atol=1e-3)
    np.testing.assert_allclose(y / z * 60 + 19.5, rows, atol=1e-3)
    np.testing.assert_allclose(0.54 * 60 / z, disparity, rtol=1e-4)


def test_kitti2015_errors(tmp_path):
    write_kitti2015(tmp_path, images=1)
    calibration = tmp_path / 'training/calib_cam_to_cam/000000.txt'
    calibration.write_text('P_rect_00: 1 2 3\n')
    with pytest.raises(FileError, match="expected a line 'P_rect_02:' with 12 numbers"):
        read_camera(calibration)
    (tmp_path / 'training/flow_occ/000000_10.png').write_bytes(b'nothing')
    with pytest.raises(LabelError, match=r"000000_10.png: task 'optical_flow'.*three 16-bit channels"):
        KITTI2015(FLOWS, str(tmp_path), crop=None)[0]


@pytest.mark.parametrize('kind', ['Cityscapes', 'CityscapesMTAN'])
def test_a_task_of_more_classes_than_the_labels_is_refused(tmp_path, kind):
    write_cityscapes(tmp_path)
    tasks = dict(semseg=dict(type='SemanticSegmentation', classes=19))
    if kind == 'CityscapesMTAN':
        (tmp_path / 'val/image').mkdir(parents=True)
        np.save(tmp_path / 'val/image/0.npy', np.zeros((2, 2, 3), np.float32))
    with pytest.raises(ConfigError, match=f'labels of {kind}, which are [78], found 19'):
        DATASETS.build(dict(type=kind, data_root=str(tmp_path), split='val', tasks=tasks))
    DATASETS.build(dict(type=kind, data_root=str(tmp_path), split='val', tasks=tasks, classes=19))
