"""KITTI depth: sparse lidar depth of street scenes, with the Eigen split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.derived import mask_invalid
from mmmtl.datasets.io.pictures import read_map
from mmmtl.datasets.io.storage import is_file
from mmmtl.errors import ConfigError, FileError, suggest
from mmmtl.registry import DATASETS

from .crops import benchmark_crop, cropped_image
from .listed import ListedDataset

WINDOWS = {
    'eigen': (0.3324324, 0.91351351, 0.0359477, 0.96405229),
    'garg': (0.40810811, 0.99189189, 0.03594771, 0.96405229),
}
"""First and last row, first and last column, as shares of the height and the width."""


def evaluation_window(height: int, width: int, name: str) -> np.ndarray:
    """Boolean (height, width): where depth is compared, after Eigen et al. (2014) or Garg et al. (2016)."""
    top, bottom, left, right = WINDOWS[name]
    inside = np.zeros((height, width), bool)
    inside[int(top * height) : int(bottom * height), int(left * width) : int(right * width)] = True
    return inside


@DATASETS.register_module()
class KITTIDepth(ListedDataset):
    """Depth completion's annotated frames of KITTI's raw drives (Uhrig et al., 3DV 2017).

    Layout, for a line ``DATE/DRIVE/image_02/data/N.png DRIVE/proj_depth/groundtruth/image_02/N.png FOCAL`` of the
    Eigen split's files: the photograph under ``data_root``; the depth under one of ``depth_dirs``, which cover raw
    data with the folders ``train`` and ``val`` of the annotations unpacked beside it. Lines with ``None`` for the
    depth are left out: 45 of the 697 test images have no annotation.

    Label ``depth``: metres (the 16-bit picture / 256), unknown where 0, outside (``min_depth``, ``max_depth``), and
    outside the evaluation window.

    Args:
        crop: (height, width): the bottom rows and middle columns that the benchmark keeps, or None for whole frames.
        window: ``eigen``, ``garg`` or None: where depth is compared.
        upstream: Lay the window over the whole frame before the crop, as the published evaluation of StableMTL does;
            otherwise it is that of the cropped image.
        depth_dirs: Folders under ``data_root`` in which depths are looked for.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        split_file: str | None = None,
        crop: tuple[int, int] | None = (352, 1216),
        window: str | None = 'eigen',
        upstream: bool = False,
        min_depth: float = 1e-5,
        max_depth: float = 80.0,
        depth_dirs: Sequence[str] = ('', 'train', 'val'),
        **kwargs: Any,
    ) -> None:
        if window is not None and window not in WINDOWS:
            raise ConfigError(
                f'KITTIDepth: window={window!r} is not one of {list(WINDOWS)} or None.{suggest(str(window), WINDOWS)}'
            )
        self.crop = None if crop is None else (int(crop[0]), int(crop[1]))
        self.window, self.upstream = window, bool(upstream)
        self.depth_range = float(min_depth), float(max_depth)
        self.depth_dirs = tuple(depth_dirs)
        super().__init__(tasks, data_root, split_file, **kwargs)

    def scan(self) -> list[str]:
        lines = []
        for folder in self.depth_dirs:
            for path in self.found(f'{folder}/*/proj_depth/groundtruth/image_0[23]/*.png'.lstrip('/')):
                drive, _, _, camera, name = path.split('/')[-5:]
                lines.append(
                    f'{drive[:10]}/{drive}/{camera}/data/{name} {drive}/proj_depth/groundtruth/{camera}/{name}'
                )
        return sorted(lines)

    def sample(self, columns: list[str]) -> dict | None:
        if len(columns) < 2:
            raise FileError(f'expected lines of a photograph, its depth and a focal length, found {columns}')
        image, depth = columns[:2]
        if depth == 'None':
            return None
        places = [self.path(folder, depth) for folder in self.depth_dirs]
        label = next((place for place in places if is_file(place)), places[0])
        return dict(sample_id=str(Path(image).with_suffix('')), img_path=self.path(image), label_path=label)

    def load_image(self, info: dict) -> np.ndarray:
        return cropped_image(info['img_path'], self.crop)

    def load_depth(self, info: dict) -> np.ndarray:
        depth = read_map(info['label_path'], dtype=np.uint16).astype(np.float32) / 256
        known = (depth > self.depth_range[0]) & (depth < self.depth_range[1])
        if self.window and (self.upstream or self.crop is None):
            known &= evaluation_window(depth.shape[0], depth.shape[1], self.window)
        label = benchmark_crop(mask_invalid(depth[None], ~known), self.crop, info['label_path'])
        if self.window and not self.upstream and self.crop is not None:
            label = mask_invalid(label, ~evaluation_window(self.crop[0], self.crop[1], self.window))
        return label
