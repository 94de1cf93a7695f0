"""Hypersim: rendered rooms with depth, normals, albedo and shading."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.addresses import address
from mmmtl.datasets.io.arrays import read_npy
from mmmtl.datasets.io.derived import decode_albedo, decode_shading, mask_invalid, unit_or_unknown
from mmmtl.datasets.io.pictures import read_map, read_picture
from mmmtl.datasets.io.storage import is_file
from mmmtl.errors import FileError
from mmmtl.registry import DATASETS

from .listed import ListedDataset

FRAME = re.compile(r'^(?:(.*)/)?rgb_(cam_\d+_fr\d+)\.png$')
FILES = {
    'depth': 'depth_plane_{}.png',
    'normals': 'normal_cam_{}.npy',
    'normals_known': 'normal_valid_mask_{}.npy',
    'albedo': 'albedo_{}.png',
    'shading': 'shading_{}.png',
}


def hypersim_files(frame: str) -> dict[str, str]:
    """File names of a prepared frame (``cam_00_fr0000``): the photograph ``rgb`` and each label's."""
    return {'rgb': f'rgb_{frame}.png'} | {name: form.format(frame) for name, form in FILES.items()}


@DATASETS.register_module()
class Hypersim(ListedDataset):
    """Frames of 768 x 1024 pixels (Roberts et al., ICCV 2021), prepared by ``tools/dataset_converters/hypersim.py``.

    Layout: ``ai_VVV_NNN/{rgb,depth_plane,albedo,shading}_cam_CC_frFFFF.png``, ``normal_cam_cam_CC_frFFFF.npy``,
    ``normal_valid_mask_cam_CC_frFFFF.npy``; that of the published preparation, whose albedo may also be called
    ``reflectance_...``. A line of a split file begins with the path of a photograph; further columns are ignored.

    Labels: ``depth`` in metres (millimetres in the file) between ``min_depth`` and ``max_depth``; ``normals`` x right,
    y up, z towards the viewer (the files hold x to the left); ``albedo`` and ``shading`` in [0, 1], the latter as
    luminance, unknown where a channel of the albedo is below 0.004.

    Args:
        min_depth: Metres; depths at or below are unknown (0 is what the file holds there).
        max_depth: Metres; depths at or beyond are unknown (16 bits end at 65.5 m).
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        split_file: str | None = None,
        min_depth: float = 1e-5,
        max_depth: float = 65.0,
        **kwargs: Any,
    ) -> None:
        self.depth_range = float(min_depth), float(max_depth)
        super().__init__(tasks, data_root, split_file, **kwargs)

    def scan(self) -> list[str]:
        return self.found('ai_*/rgb_cam_*.png')

    def sample(self, columns: list[str]) -> dict:
        match = FRAME.match(columns[0])
        if match is None:
            raise FileError(f"expected lines that begin like 'ai_001_001/rgb_cam_00_fr0000.png', found {columns[0]!r}")
        folder, frame = match.group(1) or '', match.group(2)
        paths = {name: self.path(folder, file) for name, file in hypersim_files(frame).items()}
        return dict(sample_id=f'{folder}/{frame}'.lstrip('/'), img_path=paths.pop('rgb'), paths=paths)

    def label_files(self, info: dict, source: str) -> list[str]:
        also = [info['paths']['normals_known']] if source == 'normals' else []
        return [self._existing_file(info, source), *also, *([self._albedo_file(info)] if source == 'shading' else [])]

    def load_depth(self, info: dict) -> np.ndarray:
        depth = read_map(info['paths']['depth'], dtype=np.uint16).astype(np.float32) / 1000
        return mask_invalid(depth[None], ~((depth > self.depth_range[0]) & (depth < self.depth_range[1])))

    def load_normals(self, info: dict) -> np.ndarray:
        stored, known = read_npy(info['paths']['normals']), read_npy(info['paths']['normals_known'])
        if stored.ndim != 3 or stored.shape[-1] != 3 or known.shape != stored.shape[:2]:
            raise FileError(
                f'{info["paths"]["normals"]}: expected (H, W, 3) and a mask (H, W), found {stored.shape} and '
                f'{known.shape}'
            )
        vectors = stored.transpose(2, 0, 1) * np.array([-1, 1, 1], np.float32)[:, None, None]
        return mask_invalid(unit_or_unknown(vectors), ~known.astype(bool))

    def load_albedo(self, info: dict) -> np.ndarray:
        return decode_albedo(read_picture(self._albedo_file(info)))

    def load_shading(self, info: dict) -> np.ndarray:
        return decode_shading(read_picture(info['paths']['shading']), read_picture(self._albedo_file(info)))

    def _existing_file(self, info: dict, source: str) -> str:
        return self._albedo_file(info) if source == 'albedo' else info['paths'][source]

    @staticmethod
    def _albedo_file(info: dict) -> str:
        path = Path(info['paths']['albedo'])
        other = path.with_name(path.name.replace('albedo_', 'reflectance_', 1))
        return address(other if is_file(other) and not is_file(path) else path)
