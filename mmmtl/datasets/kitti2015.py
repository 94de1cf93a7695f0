"""KITTI 2015: optical flow and scene flow of 200 street scenes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.arrays import decode_flow
from mmmtl.datasets.io.derived import mask_invalid
from mmmtl.datasets.io.pictures import read_map, read_picture
from mmmtl.datasets.io.storage import read_bytes
from mmmtl.errors import FileError
from mmmtl.registry import DATASETS

from .crops import benchmark_crop, cropped_image
from .listed import ListedDataset

BASELINE = 0.54
"""Metres between the two cameras."""


def read_camera(path: str | Path) -> tuple[float, float, float]:
    """Focal length and principal point (x, y) in pixels of the left colour camera, from ``calib_cam_to_cam``."""
    try:
        lines = read_bytes(path).decode('utf-8').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise FileError(f'{path}: expected a calibration file, found none that can be read ({error})') from error
    for line in lines:
        if line.startswith('P_rect_02:'):
            numbers = [float(n) for n in line.split()[1:]]
            if len(numbers) == 12:
                return numbers[0], numbers[2], numbers[6]
    raise FileError(f"{path}: expected a line 'P_rect_02:' with 12 numbers, found none")


def points_of_disparity(
    disparity: np.ndarray, camera: tuple[float, float, float], flow: np.ndarray | None = None
) -> np.ndarray:
    """Points in camera axes (x right, y down, z forward), metres, of a disparity map.

    Args:
        disparity: (H, W), pixels.
        camera: Focal length and principal point.
        flow: (2, H, W): where the pixels lie that the disparities belong to, relative to their own; default 0.

    Returns:
        float32 (3, H, W).
    """
    focal, cx, cy = camera
    rows, columns = np.indices(disparity.shape, np.float32)
    across, down = (0, 0) if flow is None else flow
    depth = np.float32(BASELINE * focal) / (disparity + np.float32(1e-5))
    return np.stack([(columns + across - cx) * depth / focal, (rows + down - cy) * depth / focal, depth]).astype(
        np.float32
    )


@DATASETS.register_module()
class KITTI2015(ListedDataset):
    """Pairs of frames with sparse flow and disparities (Menze and Geiger, CVPR 2015).

    Layout: ``training/{image_2,flow_occ,disp_occ_0,disp_occ_1}/N_10.png`` (photographs also ``N_11.png``) and
    ``training/calib_cam_to_cam/N.txt``. A line of a split file is the path of a flow picture.

    Labels: ``optical_flow`` in pixels, where ``flow_occ`` is known; ``scene_flow`` in metres, camera axes x right,
    y down, z forward, where flow and both disparities are: the difference of the points that the disparities of the
    two moments give.

    Args:
        crop: (height, width): the bottom rows and middle columns that the benchmark keeps, or None for whole frames.
        upstream: Compare optical flow only where the disparities are known too, as the published evaluation of
            StableMTL happens to do (its scene flow loader overwrites the mask).
        split: Name of the folder, ``training``.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        split_file: str | None = None,
        split: str = 'training',
        crop: tuple[int, int] | None = (352, 1216),
        upstream: bool = False,
        **kwargs: Any,
    ) -> None:
        self.crop = None if crop is None else (int(crop[0]), int(crop[1]))
        self.upstream = bool(upstream)
        super().__init__(tasks, data_root, split_file, split=split, **kwargs)

    def scan(self) -> list[str]:
        return self.found(f'{self.split}/flow_occ/*_10.png')

    def sample(self, columns: list[str]) -> dict:
        path = Path(columns[0])
        if path.parent.name != 'flow_occ' or not path.name.endswith('_10.png'):
            raise FileError(f"expected lines like 'training/flow_occ/000000_10.png', found {columns[0]!r}")
        folder, number = path.parent.parent, path.name[: -len('_10.png')]
        files = {name: self.path(str(folder), name, path.name) for name in ('flow_occ', 'disp_occ_0', 'disp_occ_1')}
        return dict(
            sample_id=f'{folder.as_posix()}/{number}',
            img_path=self.path(str(folder), 'image_2', path.name),
            next_path=self.path(str(folder), 'image_2', f'{number}_11.png'),
            **files,
            calibration=self.path(str(folder), 'calib_cam_to_cam', f'{number}.txt'),
        )

    def label_file(self, info: dict, source: str) -> str:
        return info['flow_occ']

    def label_files(self, info: dict, source: str) -> list[str]:
        moments = [info['disp_occ_0'], info['disp_occ_1']]
        also = [*moments, info['calibration']] if source == 'scene_flow' else moments if self.upstream else []
        return [info['flow_occ'], *also]

    def load_image(self, info: dict) -> np.ndarray:
        return cropped_image(info['img_path'], self.crop)

    def load_next_image(self, info: dict) -> np.ndarray:
        return cropped_image(info['next_path'], self.crop)

    def load_optical_flow(self, info: dict) -> np.ndarray:
        flow, known = decode_flow(read_picture(info['flow_occ'], np.uint16))
        if self.upstream:
            known = known & (self._disparity(info, 0) > 0) & (self._disparity(info, 1) > 0)
        return benchmark_crop(mask_invalid(flow, ~known), self.crop, info['flow_occ'])

    def load_scene_flow(self, info: dict) -> np.ndarray:
        flow, known = decode_flow(read_picture(info['flow_occ'], np.uint16))
        before, after = self._disparity(info, 0), self._disparity(info, 1)
        camera = read_camera(info['calibration'])
        moved = points_of_disparity(after, camera, flow) - points_of_disparity(before, camera)
        return benchmark_crop(mask_invalid(moved, ~(known & (before > 0) & (after > 0))), self.crop, info['flow_occ'])

    @staticmethod
    def _disparity(info: dict, moment: int) -> np.ndarray:
        """Disparity (H, W) in pixels, 0 where unknown; that of the second moment lies on the first frame's grid."""
        return read_map(info[f'disp_occ_{moment}'], dtype=np.uint16).astype(np.float32) / 256
