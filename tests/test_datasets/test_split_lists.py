"""Lists made from the miniatures, read back by the data sets they are for."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mmmtl.datasets import DIODE, KITTI2015, VKITTI2, Cityscapes, FlyingThings3D, MIDIntrinsics
from mmmtl.datasets.preparation.flyingthings3d import prepare_flyingthings3d
from mmmtl.datasets.preparation.mid import prepare_mid
from mmmtl.datasets.preparation.normals_from_depth import prepare_vkitti2_normals
from mmmtl.datasets.preparation.split_lists import subset, write_split_lists
from mmmtl.errors import ConfigError, FileError
from tests.miniatures.flyingthings3d import write_flyingthings3d
from tests.miniatures.indoors import write_diode, write_mid
from tests.miniatures.streets import write_cityscapes, write_kitti2015, write_vkitti2

FLOW, DEPTH = dict(optical_flow=dict(type='OpticalFlow')), dict(depth=dict(type='Depth'))


def ids(data) -> list[str]:
    return [data.get_data_info(k)['sample_id'] for k in range(len(data))]


def test_vkitti2(tmp_path):
    write_vkitti2(tmp_path)
    prepare_vkitti2_normals(tmp_path, progress=False)
    assert write_split_lists('vkitti2', tmp_path, tmp_path / 'lists') == dict(
        vkitti_depth_train=4,
        vkitti_normal_train=4,
        vkitti_semantic_train=2,
        vkitti_optical_flow_train=2,
        vkitti_scene_flow_train=2,
    )
    lists = tmp_path / 'lists'
    assert ids(VKITTI2(FLOW, str(tmp_path), str(lists / 'vkitti_optical_flow_train.txt'))) == [
        'Scene02/clone/Camera_0/00000',
        'Scene20/sunset/Camera_0/00000',
    ]
    data = VKITTI2(dict(normals=dict(type='SurfaceNormals')), str(tmp_path), 'lists/vkitti_normal_train.txt')
    assert len(data) == 4 and data[3]['gt']['normals'].shape[0] == 3


def test_hypersim(tmp_path):
    pytest.importorskip('h5py')
    from mmmtl.datasets import Hypersim
    from mmmtl.datasets.io.pictures import read_map
    from mmmtl.datasets.preparation.hypersim import prepare_hypersim
    from mmmtl.utils.files import write_png
    from tests.miniatures.hypersim import write_hypersim

    write_hypersim(tmp_path / 'raw')
    prepare_hypersim(tmp_path / 'raw', tmp_path, progress=False)
    root, lists = tmp_path / 'train', tmp_path / 'lists'
    filled = root / 'ai_001_002/depth_plane_cam_00_fr0001.png'
    write_png(str(filled), read_map(filled).clip(1))
    assert write_split_lists('hypersim', root, lists) == dict(
        filename_list_train_normal=2, filename_list_train_no_nandepth=1
    )
    assert (lists / 'filename_list_train_no_nandepth.txt').read_text().split() == [
        'ai_001_002/rgb_cam_00_fr0001.png',
        'ai_001_002/depth_plane_cam_00_fr0001.png',
        'ai_001_002/normal_cam_cam_00_fr0001.npy',
        'ai_001_002/normal_cam_cam_00_fr0001.png',
        'ai_001_002/normal_valid_mask_cam_00_fr0001.npy',
    ]
    assert len(Hypersim(DEPTH, str(root), str(lists / 'filename_list_train_normal.txt'))) == 2


def test_the_others(tmp_path):
    write_cityscapes(tmp_path)
    write_kitti2015(tmp_path)
    write_diode(tmp_path)
    _, camera = write_flyingthings3d(tmp_path / 'raw')
    prepare_flyingthings3d(tmp_path / 'raw', tmp_path / 'things', progress=False, camera=camera)
    write_mid(tmp_path / 'mid_raw')
    prepare_mid(tmp_path / 'mid_raw', tmp_path, progress=False)
    lists = tmp_path / 'lists'
    assert write_split_lists('cityscapes', tmp_path, lists) == dict(cityscapes_val_full=3)
    assert write_split_lists('kitti2015', tmp_path, lists) == dict(kitti_flow_training=2)
    assert write_split_lists('diode', tmp_path, lists) == dict(diode_val_all=2)
    assert write_split_lists('mid', tmp_path, lists) == dict(mid_intrinsics_test=4)
    assert write_split_lists('flyingthings3d', tmp_path / 'things', lists) == dict(
        flying_things_3D_train=1, flying_things_3D_val=1
    )
    semseg = dict(semseg=dict(type='SemanticSegmentation', classes=8))
    assert len(Cityscapes(semseg, str(tmp_path), 'lists/cityscapes_val_full.txt')) == 3
    assert len(KITTI2015(FLOW, str(tmp_path), 'lists/kitti_flow_training.txt')) == 2
    assert len(DIODE(DEPTH, str(tmp_path), 'lists/diode_val_all.txt')) == 2
    assert len(MIDIntrinsics(dict(albedo=dict(type='Albedo')), str(tmp_path), 'lists/mid_intrinsics_test.txt')) == 4
    assert ids(FlyingThings3D(FLOW, str(tmp_path / 'things'), str(lists / 'flying_things_3D_train.txt'))) == [
        'train/0000000'
    ]


def test_parts(tmp_path):
    lines = [f'{k:03d}' for k in range(200)]
    small, large = subset(lines, 5), subset(lines, 50)
    assert len(small) == 10 and len(large) == 100 and set(small) < set(large)
    assert large == sorted(large) and subset(lines, 5, seed=1) != small
    with pytest.raises(ConfigError, match='at most 100 percent, got 120'):
        subset(lines, 120)
    with pytest.raises(ConfigError, match="no rule for the lists of 'vkiti2'.*Did you mean 'vkitti2'"):
        write_split_lists('vkiti2', tmp_path, tmp_path)
    with pytest.raises(FileError, match="expected files for the list 'cityscapes_val_full', found none"):
        write_split_lists('cityscapes', tmp_path, tmp_path)


def test_command(tmp_path, root_dir):
    write_kitti2015(tmp_path)
    script = root_dir / 'tools/dataset_converters/split_lists.py'
    done = subprocess.run(
        [sys.executable, str(script), 'kitti2015', str(tmp_path), str(tmp_path), '--percent', '50'],
        capture_output=True,
        text=True,
        check=True,
    )
    assert 'kitti_flow_training: 2 lines (published: 200)' in done.stdout
    assert len((tmp_path / 'kitti_flow_training_subset_50percent.txt').read_text().split()) == 1
