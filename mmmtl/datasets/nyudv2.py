"""NYUDv2 for four tasks, in the packing published with ATRC and used since (``NYUDv2.tar.gz``)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmmtl.datasets.io.addresses import address
from mmmtl.datasets.io.arrays import read_metres
from mmmtl.datasets.io.derived import decode_normals, mask_invalid
from mmmtl.datasets.io.folders import read_id_list
from mmmtl.datasets.io.pictures import read_map, read_picture
from mmmtl.datasets.io.storage import is_file
from mmmtl.registry import DATASETS
from mmmtl.tasks import IGNORE

from .base import MTLDataset


@DATASETS.register_module()
class NYUDv2(MTLDataset):
    """NYUDv2: 795 training and 654 validation photographs of rooms (425 x 560), four tasks.

    Layout under ``data_root``: ``images/ID.png`` (or ``.jpg``), ``segmentation/ID.png``, ``depth/ID.npy``,
    ``normals/ID.png``, ``edge/ID.png``, ``gt_sets/SPLIT.txt``.

    Labels: ``semseg``, 40 classes (picture - 1; 0 in the file is unknown); ``depth``, metres (0 is unknown);
    ``normals`` (picture * 2 / 255 - 1; pixels without a direction are unknown); ``boundary`` (picture above
    one half).
    """

    METAINFO = dict(class_count=40)

    def list_samples(self) -> list[dict]:
        samples = []
        for i in read_id_list(self.path('gt_sets', f'{self.split}.txt')):
            photograph = Path(self.path('images', f'{i}.png'))
            if not is_file(photograph) and is_file(photograph.with_suffix('.jpg')):
                photograph = photograph.with_suffix('.jpg')
            samples.append(dict(sample_id=i, img_path=address(photograph)))
        return samples

    def label_file(self, info: dict, source: str) -> str:
        folder, suffix = dict(
            semseg=('segmentation', 'png'), depth=('depth', 'npy'), normals=('normals', 'png'), boundary=('edge', 'png')
        )[source]
        return self.path(folder, f'{info["sample_id"]}.{suffix}')

    def load_semseg(self, info: dict) -> np.ndarray:
        stored = read_map(self.label_file(info, 'semseg'))
        # of eight bits, 0 - 1 is 255 already
        return stored - 1 if stored.dtype == np.uint8 else np.where(stored == 0, IGNORE, stored.astype(np.int64) - 1)

    def load_depth(self, info: dict) -> np.ndarray:
        metres = read_metres(self.label_file(info, 'depth'))
        return mask_invalid(metres[None], (metres == 0) | np.isnan(metres))

    def load_normals(self, info: dict) -> np.ndarray:
        return decode_normals(read_picture(self.label_file(info, 'normals')))

    def load_boundary(self, info: dict) -> np.ndarray:
        return (read_map(self.label_file(info, 'boundary'), grey=True) > 127).view(np.uint8)
