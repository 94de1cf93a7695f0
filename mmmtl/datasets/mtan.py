"""NYUDv2 and Cityscapes as small ``.npy`` files, the packing published with MTAN and used by MTPSL and DiffusionMTL."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.addresses import address
from mmmtl.datasets.io.arrays import read_metres, read_npy, squeezed
from mmmtl.datasets.io.derived import mask_invalid, unit_or_unknown
from mmmtl.datasets.io.storage import glob_files, is_dir
from mmmtl.errors import ConfigError, FileError, NotFoundError
from mmmtl.registry import DATASETS
from mmmtl.tasks import IGNORE

from .base import MTLDataset


class _MTAN(MTLDataset):
    """``data_root/{train,val}/{image,...}/NUMBER.npy``; the sample id is the number."""

    FOLDERS: dict[str, str] = {}

    def list_samples(self) -> list[dict]:
        folder = Path(self.path(self.split, 'image'))
        if not is_dir(folder):
            beside = (
                sorted(p.name for p in Path(self.data_root).iterdir())
                if Path(self.data_root).is_dir()
                else 'no such folder'
            )
            raise NotFoundError(f'{type(self).__name__}: no folder {folder} (data_root holds {beside})')
        stems = [Path(name).stem for name in glob_files(folder, '*.npy')]
        odd = [s for s in stems if not s.isdigit()]
        if odd:
            raise FileError(f'{folder}/{odd[0]}.npy: expected files named by their number, found {odd[0]!r}')
        return [dict(sample_id=s, img_path=address(folder / f'{s}.npy')) for s in sorted(stems, key=int)]

    def label_file(self, info: dict, source: str) -> str:
        return self.path(self.split, self.FOLDERS[source], f'{info["sample_id"]}.npy')

    def load_image(self, info: dict) -> np.ndarray:
        image = read_npy(info['img_path'])
        if image.ndim != 3 or image.shape[-1] != 3 or image.min() < -1e-6 or image.max() > 1 + 1e-6:
            raise FileError(
                f'{info["img_path"]}: expected RGB (H, W, 3) in [0, 1], found {image.dtype} {image.shape} in '
                f'[{image.min():g}, {image.max():g}]'
            )
        return image.astype(np.float32) * np.float32(255)

    def load_semseg(self, info: dict) -> np.ndarray:
        path = self.label_file(info, 'semseg')
        stored = squeezed(read_npy(path), path)
        label = stored.astype(np.int64)
        if (label != stored).any():
            raise FileError(f'{path}: expected whole numbers (H, W), found {stored.dtype} {stored.shape}')
        label[label == -1] = IGNORE
        return label

    def load_depth(self, info: dict) -> np.ndarray:
        values = read_metres(self.label_file(info, 'depth'))
        return mask_invalid(values[None], (values == 0) | np.isnan(values))


@DATASETS.register_module()
class NYUDMTAN(_MTAN):
    """NYUDv2 at 288 x 384: 795 training and 654 validation images, 13 classes (Liu et al., MTAN, CVPR 2019).

    Layout: ``SPLIT/{image,label,depth,normal}/NUMBER.npy``. Labels: ``semseg`` (-1 unknown), ``depth`` in
    metres (0 unknown), ``normals`` (0 0 0 unknown). This, and not the 40-class packing (:class:`NYUDv2`), is
    the benchmark of MTPSL and DiffusionMTL.
    """

    METAINFO = dict(
        classes=tuple('bed books ceiling chair floor furniture objects picture sofa table tv wall window'.split())
    )
    FOLDERS = dict(semseg='label', depth='depth', normals='normal')

    def load_normals(self, info: dict) -> np.ndarray:
        path = self.label_file(info, 'normals')
        return unit_or_unknown(squeezed(read_npy(path), path, 3).transpose(2, 0, 1))


@DATASETS.register_module()
class CityscapesMTAN(_MTAN):
    """Cityscapes at 128 x 256: 2975 training and 500 validation images, 7 or 19 classes (Liu et al., MTAN, CVPR 2019).

    Layout: ``SPLIT/{image,label_7,label_19,depth}/NUMBER.npy``. Labels: ``semseg`` (-1 unknown); ``depth``,
    which is **inverse** depth (normalised disparity; 0 unknown). The published augmentation divides it by the
    zoom as if it were depth, and so does this package: metrics stay comparable.

    Args:
        classes: 7 (the benchmark of MTPSL and DiffusionMTL) or 19.
    """

    def __init__(self, tasks: Mapping[str, Any], data_root: str, classes: int = 7, **kwargs: Any) -> None:
        if classes not in (7, 19):
            raise ConfigError(f'CityscapesMTAN: classes must be 7 or 19, got {classes}')
        self.FOLDERS = dict(semseg=f'label_{classes}', depth='depth')
        about = dict(class_count=classes) | (kwargs.pop('metainfo', None) or {})
        super().__init__(tasks, data_root, metainfo=about, **kwargs)
