"""DIODE: laser-scanned depth and normals, indoors and outdoors."""

from __future__ import annotations

import numpy as np

from mmmtl.datasets.io.arrays import read_metres, read_npy, squeezed
from mmmtl.datasets.io.derived import mask_invalid, unit_or_unknown
from mmmtl.errors import FileError
from mmmtl.registry import DATASETS

from .listed import ListedDataset


@DATASETS.register_module()
class DIODE(ListedDataset):
    """Photographs of 768 x 1024 pixels (Vasiljevic et al., arXiv 1908.00463); 771 of validation, 325 of them indoors.

    Layout: ``{indoors,outdoor}/scene_N/scan_N/NAME.png`` with ``NAME_depth.npy`` (H, W, 1), ``NAME_depth_mask.npy``
    (H, W) and ``NAME_normal.npy`` (H, W, 3) beside it (the normals are a download of their own, unpacked over the
    others). A line of a split file begins with the path of a photograph.

    Labels: ``depth`` in metres, where the mask says so; ``normals`` as in the file, x right, y up, z towards the
    viewer, where their length lies between 0.5 and 1.5.
    """

    def scan(self) -> list[str]:
        return self.found('*door*/scene_*/scan_*/*.png')

    def sample(self, columns: list[str]) -> dict:
        if not columns[0].endswith('.png'):
            raise FileError(f"expected lines that begin with the path of a '.png', found {columns[0]!r}")
        stem = columns[0][: -len('.png')]
        return dict(sample_id=stem, img_path=self.path(columns[0]), stem=self.path(stem))

    def label_file(self, info: dict, source: str) -> str:
        return f'{info["stem"]}_{"normal" if source == "normals" else "depth"}.npy'

    def label_files(self, info: dict, source: str) -> list[str]:
        return [self.label_file(info, source), *([f'{info["stem"]}_depth_mask.npy'] if source == 'depth' else [])]

    def load_depth(self, info: dict) -> np.ndarray:
        depth, masked = read_metres(self.label_file(info, 'depth')), f'{info["stem"]}_depth_mask.npy'
        mask = squeezed(read_npy(masked), masked)
        if depth.shape != mask.shape:
            raise FileError(f'{masked}: expected {depth.shape} as the depth, found {mask.shape}')
        return mask_invalid(depth[None], (mask == 0) | ~np.isfinite(depth))

    def load_normals(self, info: dict) -> np.ndarray:
        path = self.label_file(info, 'normals')
        return unit_or_unknown(squeezed(read_npy(path), path, 3).transpose(2, 0, 1))
