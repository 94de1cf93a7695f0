"""Cityscapes in its published layout, with the eight street classes of StableMTL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mmmtl.datasets.io.pictures import read_map
from mmmtl.datasets.io.values import NAMED, map_values
from mmmtl.errors import ConfigError, FileError
from mmmtl.registry import DATASETS
from mmmtl.tasks import IGNORE

from .listed import ListedDataset
from .street_classes import CITYSCAPES_IDS, STREET_CLASSES

IMAGE, LABEL = '_leftImg8bit.png', '_gtFine_labelIds.png'


@DATASETS.register_module()
class Cityscapes(ListedDataset):
    """Street photographs of 1024 x 2048 pixels (Cordts et al., CVPR 2016): 2975 / 500 / 1525 images.

    Layout: ``leftImg8bit/SPLIT/CITY/NAME_leftImg8bit.png``, ``gtFine/SPLIT/CITY/NAME_gtFine_labelIds.png``. A line of
    a split file begins with the path of a photograph.

    Label ``semseg``: the eight classes that VKITTI2 and Cityscapes share or, with ``classes=19``, those that the
    benchmark evaluates; 255 elsewhere.

    Args:
        classes: 8 or 19; the task's ``classes`` must agree.
        upstream: Leave trucks out, as the published evaluation of StableMTL does, although those of VKITTI2 are
            taught as vehicles.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        split_file: str | None = None,
        upstream: bool = False,
        classes: int = 8,
        **kwargs: Any,
    ) -> None:
        if classes not in (8, 19):
            raise ConfigError(f'Cityscapes.classes: expected 8 or 19, got {classes}')
        self.table = NAMED['cityscapes']
        if classes == 8:
            trucks = {} if upstream else {27: STREET_CLASSES.index('vehicle')}
            self.table = dict.fromkeys(self.table, IGNORE) | CITYSCAPES_IDS | trucks
        about = dict(class_count=classes) | (kwargs.pop('metainfo', None) or {})
        super().__init__(tasks, data_root, split_file, metainfo=about, **kwargs)

    def scan(self) -> list[str]:
        return self.found(f'leftImg8bit/{self.split}/*/*{IMAGE}')

    def sample(self, columns: list[str]) -> dict:
        image = columns[0]
        if not image.endswith(IMAGE) or 'leftImg8bit/' not in image:
            raise FileError(f"expected lines that begin with 'leftImg8bit/.../NAME{IMAGE}', found {image!r}")
        label = image.replace('leftImg8bit/', 'gtFine/', 1)[: -len(IMAGE)] + LABEL
        return dict(
            sample_id=image.rsplit('/', 1)[-1][: -len(IMAGE)], img_path=self.path(image), label_path=self.path(label)
        )

    def load_semseg(self, info: dict) -> np.ndarray:
        stored = read_map(info['label_path'])
        classes, missing = map_values(stored, self.table)
        if missing.any():
            found = np.unique(stored[missing])[:8].tolist()
            raise FileError(f'{info["label_path"]}: expected label ids of Cityscapes, -1..33 or 255, found {found}')
        return classes
