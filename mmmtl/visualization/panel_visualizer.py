"""mmengine's visualizer, drawing one panel per image for any set of tasks."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from mmengine.dist import master_only
from mmengine.logging import print_log
from mmengine.visualization import Visualizer

from mmmtl.errors import ConfigError
from mmmtl.registry import VISUALIZERS
from mmmtl.structures import MTLDataSample, plain_map
from mmmtl.utils.files import write_png

from .panel import draw_panel


def maps_of(pixel_data: Any, tasks: Mapping) -> dict[str, np.ndarray]:
    """The maps of ``tasks`` in a ``PixelData`` as numpy, categorical labels as (H, W)."""
    return {name: plain_map(pixel_data.get(name)) for name in tasks if name in pixel_data}


def panel_of_sample(
    image: np.ndarray,
    sample: MTLDataSample,
    tasks: Mapping,
    *,
    draw_gt: bool = True,
    draw_pred: bool = True,
    subtitle: str = '',
    cell_width: int = 256,
    image_next: np.ndarray | None = None,
) -> np.ndarray:
    """The panel of one data sample.

    Args:
        image: uint8 RGB (H, W, 3).
        sample: Its ``gt`` and ``pred`` are drawn as far as they exist.
        tasks: Dict name → Task.
        draw_gt, draw_pred: Leave a row out although it exists.
        subtitle: A quiet line under the sample's id.
        cell_width: Width of one picture in pixels.
        image_next: The second frame of a pair.

    Returns:
        uint8 RGB (height, width, 3).
    """
    gt = maps_of(sample.gt, tasks) if draw_gt and 'gt' in sample else None
    pred = maps_of(sample.pred, tasks) if draw_pred and 'pred' in sample else None
    return draw_panel(
        image,
        tasks,
        gt or None,
        pred,
        title=str(sample.get('sample_id', '')),
        subtitle=subtitle,
        cell_width=cell_width,
        image_next=image_next,
    )


@VISUALIZERS.register_module()
class PanelVisualizer(Visualizer):
    """Draws the photograph, and ground truth and prediction of every task with its legend, on one sheet.

    The tasks come from ``dataset_meta['tasks']``, which the runner sets.

    Args:
        name: Name of the instance.
        cell_width: Width of one picture in pixels.
        **kwargs: See ``mmengine.visualization.Visualizer``.
    """

    def __init__(self, name: str = 'visualizer', *, cell_width: int = 256, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.cell_width = cell_width

    def add_scalars(self, *args: Any, **kwargs: Any) -> None:
        """As the base; a line of the log that cannot be written (on a full disk) does not end a run."""
        self._tell_failure(super().add_scalars, *args, **kwargs)

    def add_image(self, *args: Any, **kwargs: Any) -> None:
        """As the base, and as :meth:`add_scalars`."""
        self._tell_failure(super().add_image, *args, **kwargs)

    def _tell_failure(self, write: Any, *args: Any, **kwargs: Any) -> None:
        try:
            write(*args, **kwargs)
        except OSError as error:
            print_log(f'not written into the log: {error}', logger='current', level=logging.WARNING)

    @master_only
    def add_datasample(
        self,
        name: str,
        image: np.ndarray,
        data_sample: MTLDataSample | None = None,
        draw_gt: bool = True,
        draw_pred: bool = True,
        show: bool = False,
        wait_time: float = 0,
        step: int = 0,
        out_file: str | None = None,
        subtitle: str = '',
        image_next: np.ndarray | None = None,
    ) -> None:
        """Draw the panel of ``data_sample`` and show it, write it to ``out_file``, or hand it to the backends.

        Args:
            name: Name of the picture for the backends.
            image: uint8 RGB (H, W, 3).
            data_sample: Labels and predictions.
            draw_gt, draw_pred: Leave a row out although it exists.
            show: Open a window.
            wait_time: Seconds the window stays; 0: until a key is pressed.
            step: Iteration, for the backends.
            out_file: A ``.png`` to write instead of the backends.
            subtitle: A quiet line under the sample's id.
            image_next: The second frame of a pair.
        """
        tasks = (self.dataset_meta or {}).get('tasks')
        if not tasks:
            raise ConfigError(
                "PanelVisualizer needs dataset_meta['tasks'] (name -> Task); the runner sets it from the "
                'dataset, elsewhere set visualizer.dataset_meta = dict(tasks=model.tasks)'
            )
        sample = data_sample if data_sample is not None else MTLDataSample()
        panel = panel_of_sample(
            image,
            sample,
            tasks,
            draw_gt=draw_gt,
            draw_pred=draw_pred,
            subtitle=subtitle,
            cell_width=self.cell_width,
            image_next=image_next,
        )
        self.set_image(panel)
        if show:
            self.show(panel, win_name=name, wait_time=wait_time)
        if out_file is not None:
            write_png(out_file, panel)
        else:
            self.add_image(name, panel, step)
