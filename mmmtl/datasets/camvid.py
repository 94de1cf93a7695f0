"""CamVid: street scenes filmed from a car, 11 classes, in the SegNet packing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmmtl.datasets.io.addresses import address
from mmmtl.datasets.io.derived import boundary_of_classes
from mmmtl.datasets.io.folders import sub_folders, walk
from mmmtl.datasets.io.pictures import read_map
from mmmtl.datasets.io.storage import is_dir
from mmmtl.errors import FileError, NotFoundError
from mmmtl.registry import DATASETS
from mmmtl.tasks import IGNORE

from .base import MTLDataset


@DATASETS.register_module()
class CamVid(MTLDataset):
    """CamVid (Brostow et al. 2008), SegNet packing: photographs in ``SPLIT/``, class maps in ``SPLITannot/``.

    Labels: ``semseg``, 11 classes and void (11 in the files, unknown here); ``boundary``, derived from the
    class map by Laplacian and thinning. Void is no class: boundary pixels in it and next to it are unknown.
    The sample id is the file's stem.
    """

    METAINFO = dict(
        classes=tuple('sky,building,pole,road,pavement,tree,sign symbol,fence,car,pedestrian,bicyclist'.split(',')),
        palette=(
            (128, 180, 220),
            (150, 75, 75),
            (192, 192, 128),
            (128, 64, 128),
            (170, 120, 190),
            (100, 130, 40),
            (220, 140, 80),
            (90, 80, 150),
            (80, 50, 200),
            (220, 60, 90),
            (60, 170, 190),
        ),
    )
    VOID = 11

    def list_samples(self) -> list[dict]:
        folder = Path(self.path(self.split))
        if not is_dir(folder):
            raise NotFoundError(f'CamVid: no folder {address(folder)} (data_root holds {sub_folders(folder.parent)})')
        images = [p for p in walk(folder, ('.jpg', '.jpeg', '.png')) if p.parent == folder]
        return [
            dict(sample_id=p.stem, img_path=address(p), label_path=self.path(f'{self.split}annot', f'{p.stem}.png'))
            for p in images
        ]

    def _classes(self, info: dict) -> np.ndarray:
        classes = read_map(info['label_path'])
        if classes.max() > self.VOID:
            raise FileError(
                f'{info["label_path"]}: expected classes 0..10 and {self.VOID} = void, found {classes.max()}'
            )
        return classes

    def load_semseg(self, info: dict) -> np.ndarray:
        classes = self._classes(info).astype(np.int64)
        classes[classes == self.VOID] = IGNORE
        return classes

    def load_boundary(self, info: dict) -> np.ndarray:
        classes = self._classes(info)
        return boundary_of_classes(classes, classes == self.VOID)
