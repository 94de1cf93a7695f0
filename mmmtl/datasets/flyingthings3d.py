"""FlyingThings3D: rendered flying objects with optical flow and scene flow."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.arrays import decode_flow, read_npy, read_npz
from mmmtl.datasets.io.derived import mask_invalid
from mmmtl.datasets.io.pictures import image_size, read_picture
from mmmtl.datasets.io.storage import is_file
from mmmtl.errors import FileError
from mmmtl.registry import DATASETS

from .crops import benchmark_crop, cropped_image
from .listed import ListedDataset


def scatter(
    values: np.ndarray, points: np.ndarray, camera: tuple[float, float, float], size: tuple[int, int]
) -> np.ndarray:
    """Values of points as a map, at the pixel each is seen in; of several in one pixel the last counts.

    Args:
        values: (n, C).
        points: (n, 3) in camera axes x right, y down, z forward.
        camera: Focal length and principal point (x, y) in pixels.
        size: (height, width).

    Returns:
        float32 (C, height, width), NaN in pixels without a point.
    """
    focal, cx, cy = camera
    x, y, z = points.astype(np.float64).T
    columns, rows = np.rint(cx + focal / z * x).astype(np.int64), np.rint(cy + focal / z * y).astype(np.int64)
    inside = (columns >= 0) & (columns < size[1]) & (rows >= 0) & (rows < size[0])
    out = np.full((values.shape[-1], *size), np.nan, np.float32)
    out[:, rows[inside], columns[inside]] = values[inside].T
    return out


@DATASETS.register_module()
class FlyingThings3D(ListedDataset):
    """The subset of FlyingThings3D (Mayer et al., CVPR 2016).

    Prepared by ``tools/dataset_converters/flyingthings3d.py``.
    Layout, that of CamLiFlow's and StableMTL's preparation: ``SPLIT/{image_clean,flow_2d}/N.png``, ``SPLIT/pc/N.npz``
    with the points ``pc1`` (n, 3), ``SPLIT/flow_3d/N.npy`` (n, 3). A line of a split file is the path of a flow
    picture. The second frame is the next number; without a list, numbers whose successor is missing are left out.

    Labels: ``optical_flow`` in pixels; ``scene_flow`` in the set's units (the baseline is 1), x right, y down, z
    forward, where a point is seen.

    Args:
        crop: (height, width) of the middle of the frame that is kept, or None for whole frames.
        camera: Focal length and principal point (x, y) of whole frames, in pixels.
        upstream: Project the points with the whole frame's principal point onto the cropped frame, as the published
            training does: its scene flow lies two pixels too low.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        split_file: str | None = None,
        crop: tuple[int, int] | None = (536, 960),
        camera: tuple[float, float, float] = (1050.0, 479.5, 269.5),
        upstream: bool = False,
        **kwargs: Any,
    ) -> None:
        self.crop = None if crop is None else (int(crop[0]), int(crop[1]))
        self.camera, self.upstream = camera, bool(upstream)
        super().__init__(tasks, data_root, split_file, **kwargs)

    def scan(self) -> list[str]:
        return [
            path
            for path in self.found(f'{self.split}/flow_2d/*.png')
            if is_file(self.path(_next(path.replace('flow_2d', 'image_clean'))))
        ]

    def sample(self, columns: list[str]) -> dict:
        path = Path(columns[0])
        if path.parent.name != 'flow_2d' or not path.stem.isdigit():
            raise FileError(f"expected lines like 'train/flow_2d/0000000.png', found {columns[0]!r}")
        folder = path.parent.parent
        image = (folder / 'image_clean' / path.name).as_posix()
        return dict(
            sample_id=f'{folder.as_posix()}/{path.stem}',
            img_path=self.path(image),
            next_path=self.path(_next(image)),
            paths=dict(
                optical_flow=self.path(str(path)),
                scene_flow=self.path(str(folder), 'flow_3d', f'{path.stem}.npy'),
                points=self.path(str(folder), 'pc', f'{path.stem}.npz'),
            ),
        )

    def label_files(self, info: dict, source: str) -> list[str]:
        return [info['paths'][name] for name in (source, *(['points'] if source == 'scene_flow' else []))]

    def load_image(self, info: dict) -> np.ndarray:
        return cropped_image(info['img_path'], self.crop, middle=True)

    def load_next_image(self, info: dict) -> np.ndarray:
        return cropped_image(info['next_path'], self.crop, middle=True)

    def load_optical_flow(self, info: dict) -> np.ndarray:
        flow, known = decode_flow(read_picture(info['paths']['optical_flow'], np.uint16))
        return benchmark_crop(mask_invalid(flow, ~known), self.crop, info['paths']['optical_flow'], middle=True)

    def load_scene_flow(self, info: dict) -> np.ndarray:
        moved, points = read_npy(info['paths']['scene_flow']), read_npz(info['paths']['points'], 'pc1')
        if moved.shape != points.shape or moved.ndim != 2 or moved.shape[-1] != 3:
            raise FileError(
                f'{info["paths"]["scene_flow"]}: expected (n, 3) as the points {points.shape}, found {moved.shape}'
            )
        height, width = image_size(info['img_path'])
        if self.crop is None:
            return scatter(moved, points, self.camera, (height, width))
        focal, cx, cy = self.camera
        if not self.upstream:
            cx, cy = cx - (width - self.crop[1]) // 2, cy - (height - self.crop[0]) // 2
        return scatter(moved, points, (focal, cx, cy), self.crop)


def _next(path: str) -> str:
    """The path of the following frame."""
    stem = Path(path).stem
    return (Path(path).parent / f'{int(stem) + 1:0{len(stem)}d}{Path(path).suffix}').as_posix()
