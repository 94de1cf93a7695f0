"""Predictions of a test as files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mmengine.hooks import Hook

from mmmtl.registry import HOOKS
from mmmtl.visualization import write_raw

__all__ = ['PredictionHook']


@HOOKS.register_module()
class PredictionHook(Hook):
    """Writes every prediction of a test without loss: class maps as PNG, everything else as NPY.

    Args:
        out_dir: Files go to ``out_dir/TASK/SAMPLE_ID.png`` or ``.npy``; every process writes its own samples.
    """

    priority = 'NORMAL'

    def __init__(self, out_dir: str) -> None:
        self.out_dir = out_dir

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Mapping | None = None, outputs: Sequence | None = None
    ) -> None:
        for sample in outputs or ():
            write_raw(
                self.out_dir, sample.sample_id, {n: m.detach().cpu().numpy() for n, m in sample.pred.items()}
            )
