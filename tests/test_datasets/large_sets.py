"""Every shipped data set in miniature, as a folder writer and a config; shared by the tests of indexes and shards."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from tests.miniatures.indoors import write_diode
from tests.miniatures.mtan import write_mtan
from tests.miniatures.nyudv2 import write_nyudv2
from tests.miniatures.pascal_context import write_pascal_context
from tests.miniatures.streets import write_cityscapes, write_kitti2015, write_kitti_depth, write_vkitti2

SEMSEG = dict(type='SemanticSegmentation')
DEPTH, NORMALS, FLOW, MOTION = (dict(type=t) for t in ('Depth', 'SurfaceNormals', 'OpticalFlow', 'SceneFlow'))
ALBEDO, SHADING = dict(type='Albedo'), dict(type='Shading')


def write_folder(root: Path, count: int = 5, size: tuple[int, int] = (24, 32)) -> None:
    """Photographs, some of them with class maps, masks of 0 and 255, and depths of 16 bits."""
    for name in ('images', 'semseg', 'saliency', 'depth'):
        (root / name).mkdir(parents=True, exist_ok=True)
    for k in range(count):
        rng = np.random.default_rng(k)
        cv2.imwrite(str(root / 'images' / f'photo{k}.jpg'), rng.integers(0, 256, (*size, 3), np.uint8))
        if k != 1:
            cv2.imwrite(str(root / 'semseg' / f'photo{k}.png'), rng.integers(0, 5, size).astype(np.uint8))
        if k != 2:
            cv2.imwrite(str(root / 'depth' / f'photo{k}.png'), rng.integers(0, 5000, size).astype(np.uint16))
        if k != 3:
            cv2.imwrite(str(root / 'saliency' / f'photo{k}.png'), rng.integers(0, 2, size).astype(np.uint8) * 255)


def folder_config(root: Path) -> dict[str, Any]:
    """The config of :func:`write_folder`'s data set."""
    tasks = dict(semseg=dict(SEMSEG, classes=5), saliency=dict(type='Saliency'), depth=DEPTH)
    return dict(type='FolderDataset', data_root=str(root), tasks=tasks, formats=dict(depth=dict(scale=0.001)))


def _camvid(root: Path) -> None:
    for k in range(3):
        rng = np.random.default_rng(k)
        for name, picture in (
            ('train', rng.integers(0, 256, (24, 32, 3), np.uint8)),
            ('trainannot', rng.integers(0, 12, (24, 32)).astype(np.uint8)),
        ):
            (root / name).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(root / name / f't{k}.png'), picture)


def _hypersim(root: Path) -> None:
    (root / 'ai_001_001').mkdir(parents=True)
    for k in range(2):
        rng, stem = np.random.default_rng(k), f'cam_00_fr000{k}'
        for name in ('rgb', 'reflectance' if k else 'albedo', 'shading'):
            cv2.imwrite(str(root / f'ai_001_001/{name}_{stem}.png'), rng.integers(0, 256, (24, 32, 3), np.uint8))
        cv2.imwrite(str(root / f'ai_001_001/depth_plane_{stem}.png'), rng.integers(0, 9000, (24, 32)).astype(np.uint16))
        vectors = rng.normal(size=(24, 32, 3)).astype(np.float32)
        np.save(root / f'ai_001_001/normal_cam_{stem}.npy', vectors / np.linalg.norm(vectors, axis=-1, keepdims=True))
        np.save(root / f'ai_001_001/normal_valid_mask_{stem}.npy', rng.random((24, 32)) > 0.2)


def _mid(root: Path) -> None:
    (root / 'test').mkdir(parents=True)
    for k in range(2):
        for name in ('', '_albedo', '_shading'):
            picture = np.random.default_rng(k).integers(0, 256, (24, 32, 3), np.uint8)
            cv2.imwrite(str(root / f'test/room_dir_{k}_mip2{name}.png'), picture)


def _things(root: Path) -> None:
    for name in ('image_clean', 'flow_2d', 'flow_3d', 'pc'):
        (root / 'train' / name).mkdir(parents=True)
    for k in range(2):
        rng, stem = np.random.default_rng(k), f'000000{k}'
        cv2.imwrite(str(root / f'train/image_clean/{stem}.png'), rng.integers(0, 256, (24, 32, 3), np.uint8))
        cv2.imwrite(str(root / f'train/flow_2d/{stem}.png'), rng.integers(1, 65535, (24, 32, 3)).astype(np.uint16))
        np.savez(root / f'train/pc/{stem}.npz', pc1=rng.uniform(5, 9, (50, 3)).astype(np.float32))
        np.save(root / f'train/flow_3d/{stem}.npy', rng.normal(size=(50, 3)).astype(np.float32))


def _config(kind: str, tasks: dict[str, Any], **arguments: Any) -> Any:
    return lambda root: dict(type=kind, data_root=str(root), tasks=tasks, **arguments)


SETS = {
    'folder': (write_folder, folder_config),
    'camvid': (_camvid, _config('CamVid', dict(semseg=dict(SEMSEG, classes=11), boundary=dict(type='Boundary')))),
    'nyudv2': (
        write_nyudv2,
        _config(
            'NYUDv2',
            dict(semseg=dict(SEMSEG, classes=40), depth=DEPTH, normals=NORMALS, boundary=dict(type='Boundary')),
        ),
    ),
    'pascal': (
        write_pascal_context,
        _config(
            'PascalContext',
            dict(
                semseg=dict(SEMSEG, classes=21),
                human_parts=dict(type='HumanParts'),
                saliency=dict(type='Saliency'),
                normals=NORMALS,
                boundary=dict(type='Boundary'),
            ),
        ),
    ),
    'cityscapes': (write_cityscapes, _config('Cityscapes', dict(semseg=dict(SEMSEG, classes=8)), split='val')),
    'kitti_depth': (write_kitti_depth, _config('KITTIDepth', dict(depth=DEPTH), crop=None)),
    'kitti2015': (write_kitti2015, _config('KITTI2015', dict(optical_flow=FLOW, scene_flow=MOTION), crop=None)),
    'vkitti2': (
        write_vkitti2,
        _config('VKITTI2', dict(semseg=dict(SEMSEG, classes=8), depth=DEPTH, optical_flow=FLOW, scene_flow=MOTION)),
    ),
    'diode': (write_diode, _config('DIODE', dict(depth=DEPTH, normals=NORMALS))),
    'mid': (_mid, _config('MIDIntrinsics', dict(albedo=ALBEDO, shading=SHADING))),
    'hypersim': (_hypersim, _config('Hypersim', dict(depth=DEPTH, normals=NORMALS, albedo=ALBEDO, shading=SHADING))),
    'things': (_things, _config('FlyingThings3D', dict(optical_flow=FLOW, scene_flow=MOTION), crop=None)),
    'mtan': (
        lambda root: write_mtan(root, 'nyud'),
        _config('NYUDMTAN', dict(semseg=dict(SEMSEG, classes=13), depth=DEPTH, normals=NORMALS)),
    ),
    'mtan_streets': (
        lambda root: write_mtan(root, 'cityscapes'),
        _config('CityscapesMTAN', dict(semseg=dict(SEMSEG, classes=7), depth=DEPTH)),
    ),
}
"""``{name: (writer, config of a root)}``."""


def assert_same_samples(first: Any, second: Any) -> None:
    """Two data sets give the same ids in the same order, the same assignments, pictures and labels."""
    assert len(first) == len(second) > 0
    assert first.labels == second.labels and list(first.labels) == list(second.labels)
    for k in range(len(first)):
        assert first.visible(k) == second.visible(k)
        one, two = first[k], second[k]
        assert one['sample_id'] == two['sample_id'] and list(one['gt']) == list(two['gt'])
        for name in ('img', 'img_next'):
            assert (name in one) == (name in two)
            np.testing.assert_array_equal(one.get(name, 0), two.get(name, 0))
        for name, label in one['gt'].items():
            np.testing.assert_array_equal(label, two['gt'][name])
    for task in first.tasks:
        np.testing.assert_array_equal(first.labelled(task), second.labelled(task))


def random_crop(results: dict[str, Any]) -> dict[str, Any]:
    """A transform that draws: half of the image at a place that comes from the sample's own random numbers."""
    rng: random.Random = results['rng']
    top, left = rng.randrange(6), rng.randrange(6)
    return dict(results, img=results['img'][top : top + 12, left : left + 12], noise=rng.random())
