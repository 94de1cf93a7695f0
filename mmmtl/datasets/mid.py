"""MID Intrinsics: indoor scenes under 25 lights each, with albedo and shading."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.derived import decode_albedo, decode_shading
from mmmtl.datasets.io.pictures import read_picture
from mmmtl.datasets.io.storage import is_file
from mmmtl.errors import FileError
from mmmtl.registry import DATASETS

from .listed import ListedDataset

LABELS = ('_albedo', '_shading', '_scaled_only')


@DATASETS.register_module()
class MIDIntrinsics(ListedDataset):
    """Multi-illumination images (Murmann et al., ICCV 2019) with the albedo of Careaga and Aksoy (TOG 2023).

    Prepared by ``tools/dataset_converters/mid.py``: 30 scenes x 25 lights of 1000 x 1500 pixels. Layout:
    ``SPLIT/SCENE_dir_K_mip2.png``, ``..._albedo.png``, ``..._shading.png``; or ``.jpg``, which the published
    preparation writes. A line of a split file is the path of a photograph; its suffix may differ from the file's.

    Labels: ``albedo`` and ``shading`` in [0, 1], linear, unknown where a channel of the albedo is below 0.004.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str,
        split_file: str | None = None,
        split: str = 'test',
        **kwargs: Any,
    ) -> None:
        super().__init__(tasks, data_root, split_file, split=split, **kwargs)

    def scan(self) -> list[str]:
        return [path for suffix in ('png', 'jpg') for path in self.found(f'{self.split}/*_mip2.{suffix}')]

    def sample(self, columns: list[str]) -> dict:
        image = Path(columns[0])
        if image.suffix not in ('.png', '.jpg') or image.stem.endswith(LABELS):
            raise FileError(f"expected lines like 'test/SCENE_dir_0_mip2.png', found {columns[0]!r}")
        stem = self.path(str(image.with_suffix('')))
        suffix = next((s for s in ('.png', '.jpg') if is_file(stem + s)), image.suffix)
        return dict(
            sample_id=image.with_suffix('').as_posix(),
            img_path=stem + suffix,
            paths={name: f'{stem}_{name}{suffix}' for name in ('albedo', 'shading')},
        )

    def label_files(self, info: dict, source: str) -> list[str]:
        return [info['paths'][name] for name in dict.fromkeys((source, 'albedo'))]

    def load_albedo(self, info: dict) -> np.ndarray:
        return decode_albedo(read_picture(info['paths']['albedo']))

    def load_shading(self, info: dict) -> np.ndarray:
        return decode_shading(*(read_picture(info['paths'][name]) for name in ('shading', 'albedo')))
