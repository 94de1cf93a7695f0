"""Segmentation data sets of mmsegmentation as the source of one task's labels."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError, NotFoundError
from mmmtl.registry import DATASETS, TRANSFORMS

from .base import MTLDataset
from .checks import check_order


@DATASETS.register_module()
class SegmentationSet(MTLDataset):
    """A data set of mmsegmentation (``mmseg.ADE20KDataset``, ...) that labels the source ``semseg``.

    Beside other data sets in a ``MixedDataset`` it labels its one task, and they theirs. File lists, folders, suffixes and
    the meaning of the numbers (``reduce_zero_label``, a choice of classes) are mmsegmentation's.

    Args:
        source: Config of the data set, without a pipeline.
        loader: Config of the transform that reads its label maps.
        data_root: Root folder of the data set, in place of the config's own.
        tasks, **options: Of :class:`MTLDataset`.

    Raises:
        ConfigError: The task's classes are not as many as the data set's.
        NotFoundError: No image where the data set looks for them.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        source: Mapping[str, Any],
        loader: Mapping[str, Any] | None = None,
        data_root: str = '',
        **options: Any,
    ) -> None:
        try:
            root = dict(data_root=data_root) if data_root else {}
            self.source = DATASETS.build({**source, **root, 'pipeline': [], '_scope_': 'mmseg'})
        except FileNotFoundError as error:
            raise NotFoundError(f'{source.get("type")}: {error}') from error
        self.reader = TRANSFORMS.build({'_scope_': 'mmseg', **(loader or dict(type='mmseg.LoadAnnotations'))})
        super().__init__(tasks, data_root=str(self.source.data_root or ''), **options)
        classes = list(self.source.metainfo.get('classes') or ())
        for name, task in self.tasks.items():
            if task.source == 'semseg' and classes and task.out_channels != len(classes):
                raise ConfigError(
                    f"tasks['{name}'] has {task.out_channels} classes, {type(self.source).__name__} has "
                    f'{len(classes)}: {classes[:4]}, ...'
                )
        check_order(self, type(self.source).__name__, classes)

    def list_samples(self) -> list[dict]:
        infos = [self.source.get_data_info(k) for k in range(len(self.source))]
        if not infos:
            raise NotFoundError(
                f'{type(self.source).__name__}: no images in {self.source.data_prefix.get("img_path")!r}'
            )
        folder = os.path.commonpath([os.path.dirname(info['img_path']) for info in infos])
        return [
            dict(
                sample_id=os.path.splitext(os.path.relpath(info['img_path'], folder))[0],
                img_path=info['img_path'],
                seg_map_path=info.get('seg_map_path'),
                source_index=k,
                available=('semseg',) if info.get('seg_map_path') else (),
            )
            for k, info in enumerate(infos)
        ]

    def label_file(self, info: dict, source: str) -> str:
        return str(info['seg_map_path'])

    def load_semseg(self, info: dict) -> np.ndarray:
        """Class numbers, int64 (H, W); 255 is unknown."""
        loaded = self.reader({**self.source.get_data_info(info['source_index'])})
        label = loaded['gt_seg_map'].astype(np.int64)
        label[label == self.source.ignore_index] = 255
        return label
