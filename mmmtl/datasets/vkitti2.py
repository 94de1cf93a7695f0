"""Virtual KITTI 2: rendered street scenes with depth, classes and motion."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.addresses import join
from mmmtl.datasets.io.arrays import read_npy, squeezed
from mmmtl.datasets.io.derived import mask_invalid, unit_or_unknown
from mmmtl.datasets.io.pictures import read_map, read_picture
from mmmtl.datasets.io.storage import is_file
from mmmtl.errors import FileError
from mmmtl.registry import DATASETS

from .listed import ListedDataset
from .street_classes import STREET_CLASSES, STREET_PALETTE, colours_to_classes

SCENES = {'train': ('Scene02', 'Scene06', 'Scene18', 'Scene20'), 'val': ('Scene01',)}
VARIANTS = ('15-deg-left', '15-deg-right', 'clone', 'morning', 'overcast', 'sunset')
"""The variants StableMTL is trained on; the set also holds 30-deg-left, 30-deg-right, fog and rain."""

FRAME = re.compile(r'(Scene\d\d)/([^/]+)/frames/[^/]+/(Camera_[01])/[A-Za-z]+_(\d{5})\.\w+$')
FILES = {
    'depth': ('depth', 'depth_{}.png'),
    'normals': ('normal', 'normal_{}.npy'),
    'semseg': ('classSegmentation', 'classgt_{}.png'),
    'optical_flow': ('forwardFlow', 'flow_{}.png'),
    'scene_flow': ('forwardSceneFlow', 'sceneFlow_{}.png'),
}
"""Folder and file name of each label."""


def decode_optical_flow(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A flow picture, uint16 (H, W, 3) RGB: ±1 is the width (u) or height (v) less one pixel; blue 0 where unknown.

    Returns:
        flow: float32 (2, H, W), pixels to the right and down.
        valid: boolean (H, W); sky is unknown.
    """
    height, width = picture.shape[:2]
    span = np.array([width - 1, height - 1], np.float32)
    flow = (np.float32(2 / 65535) * picture[..., :2].astype(np.float32) - 1) * span
    return flow.transpose(2, 0, 1), picture[..., 2] > 0


def decode_scene_flow(picture: np.ndarray) -> np.ndarray:
    """A scene flow picture, uint16 (H, W, 3) RGB over ±10 m → float32 (3, H, W) metres: x right, y down, z forward."""
    return (np.float32(2 / 65535) * picture.astype(np.float32) - 1).transpose(2, 0, 1) * np.float32(10)


@DATASETS.register_module()
class VKITTI2(ListedDataset):
    """Five driving scenes of 375 x 1242 pixels in ten variants and two cameras (Cabon et al., arXiv 2001.10773).

    Layout: ``original/SceneNN/VARIANT/frames/{rgb,depth,classSegmentation,forwardFlow,forwardSceneFlow}/Camera_C/``
    with ``rgb_N.jpg``, ``depth_N.png``, ``classgt_N.png``, ``flow_N.png``, ``sceneFlow_N.png``; normals made by
    ``tools/dataset_converters/vkitti2_normals.py`` under ``normal_estimated/.../frames/normal/Camera_C/normal_N.npy``.
    A line of a split file is the path of any file of a frame. Without a list, ``split`` chooses the scenes: ``train``
    02, 06, 18 and 20 in the six variants of StableMTL, ``val`` scene 01.

    Where a task needs the second frame (the next number), the last frame of each sequence is left out.

    Labels: ``depth`` in metres (centimetres in the file), known between ``min_depth`` and ``max_depth``, so not in the
    sky; ``normals`` x right, y up, z towards the viewer (the files hold x to the left), known where the depth is;
    ``semseg`` of eight street classes; ``optical_flow`` in pixels; ``scene_flow`` in metres, x right, y down, z
    forward, known where the optical flow is. (The published training also divides scene flow by what the file holds
    in unknown pixels; here an unknown pixel has no value.)

    Args:
        images: Folder of the original data under ``data_root``.
        normals: Folder of the normals under ``data_root``.
        min_depth: Metres; depths at or below are unknown.
        max_depth: Metres; depths at or beyond are unknown.
    """

    METAINFO = dict(classes=STREET_CLASSES, palette=STREET_PALETTE)

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        split_file: str | None = None,
        images: str = 'original',
        normals: str = 'normal_estimated',
        min_depth: float = 1e-5,
        max_depth: float = 80.0,
        **kwargs: Any,
    ) -> None:
        self.folders = dict.fromkeys(FILES, images) | {'normals': normals}
        self.images = images
        self.depth_range = float(min_depth), float(max_depth)
        super().__init__(tasks, data_root, split_file, **kwargs)

    def scan(self) -> list[str]:
        scenes = SCENES.get(self.split, (self.split,))
        places = [f'{self.images}/{scene}/{variant}/frames/rgb' for scene in scenes for variant in VARIANTS]
        return [path for place in places for path in self.found(f'{place}/Camera_[01]/rgb_*.jpg')]

    def sample(self, columns: list[str]) -> dict | None:
        match = FRAME.search(columns[0])
        if match is None:
            raise FileError(
                "expected lines like 'original/Scene02/clone/frames/depth/Camera_0/depth_00000.png', found "
                f'{columns[0]!r}'
            )
        scene, variant, camera, number = match.groups()
        frames = f'{scene}/{variant}/frames'
        rgb = Path(self.path(self.images, frames, 'rgb', camera))
        following = join(rgb, f'rgb_{int(number) + 1:05d}.jpg')
        if self.pairs and not is_file(following):
            return None
        paths = {
            source: self.path(self.folders[source], frames, folder, camera, name.format(number))
            for source, (folder, name) in FILES.items()
        }
        return dict(
            sample_id=f'{scene}/{variant}/{camera}/{number}',
            img_path=join(rgb, f'rgb_{number}.jpg'),
            **(dict(next_path=following) if self.pairs else {}),  # of the last frame there is none
            paths=paths,
        )

    def label_files(self, info: dict, source: str) -> list[str]:
        also = dict(normals='depth', scene_flow='optical_flow').get(source)
        return [info['paths'][name] for name in (source, also) if name]

    def load_depth(self, info: dict) -> np.ndarray:
        depth = read_map(info['paths']['depth'], dtype=np.uint16).astype(np.float32) / 100
        return mask_invalid(depth[None], ~((depth > self.depth_range[0]) & (depth < self.depth_range[1])))

    def load_normals(self, info: dict) -> np.ndarray:
        path = info['paths']['normals']
        stored = squeezed(read_npy(path), path, 3)
        vectors = unit_or_unknown(stored.transpose(2, 0, 1) * np.array([-1, 1, 1], np.float32)[:, None, None])
        depth = self.load_depth(info)
        if depth.shape[-2:] != vectors.shape[-2:]:
            raise FileError(f'{path}: expected {depth.shape[-2:]} normals as in the depth, found {vectors.shape[-2:]}')
        return mask_invalid(vectors, np.isnan(depth[0]))

    def load_semseg(self, info: dict) -> np.ndarray:
        return colours_to_classes(read_picture(info['paths']['semseg']))

    def load_optical_flow(self, info: dict) -> np.ndarray:
        flow, known = decode_optical_flow(read_picture(info['paths']['optical_flow'], np.uint16))
        return mask_invalid(flow, ~known)

    def load_scene_flow(self, info: dict) -> np.ndarray:
        moved = decode_scene_flow(read_picture(info['paths']['scene_flow'], np.uint16))
        return mask_invalid(moved, read_picture(info['paths']['optical_flow'], np.uint16)[..., 2] == 0)
