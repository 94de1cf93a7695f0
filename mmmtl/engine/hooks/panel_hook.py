"""Pictures while a run goes on: a few panels per validation, all of a test when they are asked for."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from mmmtl.datasets.io.memory import original_photograph
from mmmtl.errors import InputError
from mmmtl.models.data_preprocessor import labels_on_input
from mmmtl.registry import HOOKS
from mmmtl.utils.files import safe_name, write_png
from mmmtl.utils.models import unwrap_model
from mmmtl.visualization import draw_explanation, input_photograph, panel_of_sample


@HOOKS.register_module()
class PanelHook(Hook):
    """Draws the photograph, and ground truth and prediction of every task, on one sheet per image.

    Args:
        num_val: How many images of each validation are drawn, the first ones of the dataset; they go to the
            backends of the runner's visualizer (``vis_data/vis_image`` in the work dir). 0: none.
        test_dir: Folder for the panels of a test, one PNG per image; None: none.
        max_test: Draw no more than this many panels per process in a test.
        cell_width: Width of one picture in pixels.
        subtitle: A quiet line under the image's name.
        explain: Draw beside every panel of a test how the prediction came about, and what the network makes of the labels
            (``NAME.WHAT.png``); for models that can tell.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        num_val: int = 4,
        test_dir: str | None = None,
        max_test: int | None = None,
        cell_width: int = 256,
        subtitle: str = '',
        explain: bool = False,
    ) -> None:
        self.num_val, self.test_dir, self.max_test = num_val, test_dir, max_test
        self.cell_width, self.subtitle, self.explain = cell_width, subtitle, explain
        self._drawn = 0

    def before_val_epoch(self, runner: Any) -> None:
        self._drawn = 0

    def before_test_epoch(self, runner: Any) -> None:
        self._drawn = 0

    def after_val_iter(
        self, runner: Any, batch_idx: int, data_batch: Mapping | None = None, outputs: Sequence | None = None
    ) -> None:
        if not is_main_process() or self._drawn >= self.num_val or not outputs:
            return
        dataset = runner.val_dataloader.dataset
        for index, sample in enumerate(outputs[: self.num_val - self._drawn]):
            panel = self._draw(dataset, data_batch, index, sample)
            runner.visualizer.add_image(f'val_{safe_name(sample.sample_id)}', panel, runner.iter)
            self._drawn += 1

    def after_test_iter(
        self, runner: Any, batch_idx: int, data_batch: Mapping | None = None, outputs: Sequence | None = None
    ) -> None:
        if self.test_dir is None or not outputs:
            return
        dataset = runner.test_dataloader.dataset
        for index, sample in enumerate(outputs):
            if self.max_test is not None and self._drawn >= self.max_test:
                return
            if self.explain and data_batch is not None:
                self._explain(unwrap_model(runner.model), data_batch['inputs'][index], sample, self.test_dir)
            panel = self._draw(dataset, data_batch, index, sample)
            write_png(osp.join(self.test_dir, safe_name(sample.sample_id) + '.png'), panel)
            self._drawn += 1

    def has_written(self, runner: Any, sample_id: str) -> bool:
        """Whether the panel of a sample is there, from an earlier, interrupted test; of some samples, any will do."""
        if self.test_dir is None or self.max_test is not None:
            return True
        return osp.isfile(osp.join(self.test_dir, safe_name(sample_id) + '.png'))

    def _explain(self, model: Any, inputs: Tensor, sample: Any, folder: str) -> None:
        """Draw how the prediction of one sample came about, and what the network makes of its labels."""
        ready = model.data_preprocessor(dict(inputs=[inputs], data_samples=[sample.clone()]), False)
        (own,) = ready['data_samples']
        targets = labels_on_input(own, model.tasks, ready['inputs']) if 'gt' in own else None
        photograph = input_photograph(inputs, sample.metainfo)[0]
        for shown in model.explain(ready['inputs'], ready['data_samples'], targets=targets)[0]:
            picture = draw_explanation(shown, photograph, model.tasks, title=sample.sample_id, subtitle=self.subtitle)
            write_png(osp.join(folder, f'{safe_name(sample.sample_id)}.{shown.name}.png'), picture)

    def _draw(self, dataset: Any, data_batch: Mapping | None, index: int, sample: Any) -> np.ndarray:
        """The panel of one sample: over the photograph on disk, or over what the network was given."""
        image, image_next = original_photograph(sample), None
        inputs = None if data_batch is None else data_batch['inputs'][index]
        if inputs is not None and (image is None or inputs.ndim == 4):
            image, *rest = input_photograph(inputs, sample.metainfo)
            image_next = rest[0] if rest else None
        if image is None:
            raise InputError(f"sample '{sample.sample_id}': neither a photograph on disk nor inputs to draw a panel on")
        return panel_of_sample(
            image,
            sample,
            dataset.metainfo['tasks'],
            subtitle=self.subtitle,
            cell_width=self.cell_width,
            image_next=image_next,
        )
