"""Miniatures of Cityscapes, KITTI and Virtual KITTI 2: two-frame Diorama scenes in their published layouts."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmmtl.datasets.diorama.render import render
from mmmtl.datasets.io.arrays import encode_flow
from mmmtl.utils.files import write_png

from .scenes import save_picture

CITYSCAPES_LABELS = np.array([7, 11, 17, 19, 20, 21, 23, 26], np.uint8)
VKITTI_PALETTE = np.array(
    [
        (100, 60, 100),
        (140, 140, 140),
        (255, 130, 0),
        (200, 200, 0),
        (255, 255, 0),
        (90, 240, 0),
        (90, 200, 255),
        (255, 127, 80),
    ],
    np.uint8,
)
"""Colours that VKITTI2 gives Road, Building, Pole, TrafficLight, TrafficSign, Vegetation, Sky, Car."""


def pair(number: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """A Diorama scene with its second frame."""
    return render(seed=11, index=number, size=size, frames=2)


def save_png(path: Path, picture: np.ndarray) -> None:
    """A picture of 8 or 16 bits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_png(str(path), picture)


def holes(size: tuple[int, int], step: int = 7) -> np.ndarray:
    """Pixels that miss a measurement."""
    rows, columns = np.indices(size)
    return (rows * 3 + columns) % step == 0


def write_cityscapes(root: Path, images: int = 3, size: tuple[int, int] = (32, 64)) -> dict[str, dict]:
    """``{sample id: dict(semseg, img)}``; every label has some trucks (27), licence plates (255) and void (0)."""
    truth = {}
    for k in range(images):
        scene = pair(k, size)
        name = f'{"bonn" if k else "aachen"}_{k:06d}_000019'
        ids = CITYSCAPES_LABELS[scene['semseg']]
        classes = scene['semseg'].copy()
        for row, stored in ((0, 27), (1, 255), (2, 0)):
            ids[row], classes[row] = stored, stored
        city = name.split('_')[0]
        save_picture(root / 'leftImg8bit' / 'val' / city / f'{name}_leftImg8bit.png', scene['img'])
        save_picture(root / 'gtFine' / 'val' / city / f'{name}_gtFine_labelIds.png', ids)
        truth[name] = dict(semseg=classes, img=scene['img'])
    return truth


def write_kitti_depth(root: Path, images: int = 3, size: tuple[int, int] = (40, 100)) -> dict[str, dict]:
    """Raw drives, annotations in ``val``, and ``eigen.txt`` whose last line has no depth."""
    truth, lines, drive = {}, [], '2011_09_26_drive_0002_sync'
    for k in range(images):
        scene, name = pair(20 + k, size), f'{k:010d}.png'
        image = f'2011_09_26/{drive}/image_02/data/{name}'
        depth = f'{drive}/proj_depth/groundtruth/image_02/{name}'
        save_picture(root / image, scene['img'])
        stored = np.where(holes(size), 0, np.rint(scene['depth'][0] * 256)).astype(np.uint16)
        save_png(root / 'val' / depth, stored)
        lines.append(f'{image} {depth} 721.5377')
        truth[image[: -len('.png')]] = dict(depth=stored / 256, img=scene['img'])
    (root / 'eigen.txt').write_text('\n'.join([*lines, '2011_09_26/gone/image_02/data/1.png None 721.5377']))
    return truth


def write_kitti2015(root: Path, images: int = 2, size: tuple[int, int] = (40, 100)) -> dict[str, dict]:
    """Flow, two disparities and calibration; each of the three has holes of its own."""
    truth, folder = {}, root / 'training'
    for k in range(images):
        scene, name = pair(30 + k, size), f'{k:06d}'
        focal, cx, cy = (scene['intrinsics'][i] for i in ((0, 0), (0, 2), (1, 2)))
        first, second, third = (holes(size, step) for step in (5, 7, 11))
        save_picture(folder / 'image_2' / f'{name}_10.png', scene['img'])
        save_picture(folder / 'image_2' / f'{name}_11.png', scene['img_next'])
        save_png(folder / 'flow_occ' / f'{name}_10.png', encode_flow(scene['optical_flow'], ~first))
        after = scene['depth'][0] + scene['scene_flow'][2]
        for moment, (depth, gone) in enumerate(((scene['depth'][0], second), (after, third))):
            disparity = np.where(gone, 0, np.rint(0.54 * focal / depth * 256)).astype(np.uint16)
            save_png(folder / f'disp_occ_{moment}' / f'{name}_10.png', disparity)
        (folder / 'calib_cam_to_cam').mkdir(exist_ok=True)
        (folder / 'calib_cam_to_cam' / f'{name}.txt').write_text(
            f'calib_time: 09-Jan-2012\nP_rect_02: {focal} 0 {cx} 44.8 0 {focal} {cy} 0.2 0 0 1 0.003\n'
        )
        truth[f'training/{name}'] = dict(scene, no_flow=first, no_points=first | second | third)
    return truth


def write_vkitti2(
    root: Path,
    size: tuple[int, int] = (36, 120),
    places: tuple[str, ...] = ('Scene02/clone', 'Scene20/sunset', 'Scene01/clone'),
) -> dict[str, dict]:
    """Sequences of two frames; the second has no motion. The upper rows are sky: no depth, no flow, no normals."""
    truth = {}
    for k, place in enumerate(places):
        scene, frames = pair(40 + k, size), root / 'original' / place / 'frames'
        sky = np.zeros(size, bool)
        sky[:3] = True
        for number, depth, img in ((0, scene['depth'], scene['img']), (1, scene['depth_next'], scene['img_next'])):
            save_picture(frames / 'rgb' / 'Camera_0' / f'rgb_{number:05d}.jpg', img)
            stored = np.where(sky, 65535, np.rint(depth.reshape(size) * 100)).astype(np.uint16)
            save_png(frames / 'depth' / 'Camera_0' / f'depth_{number:05d}.png', stored)
        colours = VKITTI_PALETTE[scene['semseg']]
        colours[0], colours[1] = (210, 0, 200), (160, 60, 60)  # terrain, truck
        save_png(frames / 'classSegmentation' / 'Camera_0' / 'classgt_00000.png', colours)
        span = np.array([size[1] - 1, size[0] - 1])[:, None, None]
        flow = np.rint((scene['optical_flow'] / span + 1) / 2 * 65535).clip(0, 65535)
        blue = np.where(sky, 0, 65535)
        save_png(frames / 'forwardFlow' / 'Camera_0' / 'flow_00000.png', np.stack([*flow, blue], -1).astype(np.uint16))
        moved = np.rint((scene['scene_flow'] / 10 + 1) / 2 * 65535).astype(np.uint16)
        save_png(frames / 'forwardSceneFlow' / 'Camera_0' / 'sceneFlow_00000.png', moved.transpose(1, 2, 0))
        truth[f'{place}/Camera_0/00000'] = dict(scene, sky=sky)
    return truth
