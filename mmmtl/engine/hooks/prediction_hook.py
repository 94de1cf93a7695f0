"""Predictions of a test as files."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook

from mmmtl.evaluation.functional.boundary.evaluate import quantised
from mmmtl.registry import HOOKS
from mmmtl.utils.files import safe_name, write_png
from mmmtl.visualization import write_raw


@HOOKS.register_module()
class PredictionHook(Hook):
    """Writes every prediction of a test without loss: class maps as PNG, everything else as NPY.

    Probability maps are written a second time as the tools of published papers read them, 255 × probability rounded
    down to 8 bits.

    Args:
        out_dir: Files go to ``out_dir/TASK/SAMPLE_ID.png`` or ``.npy``, 8-bit probabilities to
            ``out_dir/uint8/TASK/SAMPLE_ID.png``; every process writes its own samples.
    """

    priority = 'NORMAL'

    def __init__(self, out_dir: str) -> None:
        self.out_dir = out_dir

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Mapping | None = None, outputs: Sequence | None = None
    ) -> None:
        tasks = runner.test_dataloader.dataset.metainfo.get('tasks', {})
        for sample in outputs or ():
            maps = {name: value.detach().cpu().numpy() for name, value in sample.pred.items()}
            for name, value in maps.items():
                if name in tasks and tasks[name].categorical and value.dtype.kind == 'f':
                    path = osp.join(self.out_dir, 'uint8', safe_name(name), safe_name(sample.sample_id) + '.png')
                    write_png(path, quantised(value)[0])
            write_raw(self.out_dir, sample.sample_id, maps)  # last: it shows that all is there

    def has_written(self, runner: Any, sample_id: str) -> bool:
        """Whether all predictions of a sample are there, from an earlier, interrupted test."""
        names = runner.test_dataloader.dataset.metainfo.get('tasks', {})
        stem = osp.join(self.out_dir, '{}', safe_name(sample_id))
        return all(any(osp.isfile(stem.format(safe_name(name)) + end) for end in ('.png', '.npy')) for name in names)
