"""What was predicted on one image: kept, drawn, written."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from mmmtl.datasets.io.inputs import ImageInput
from mmmtl.models.enlarged_maps import EnlargedMaps, is_large, thinned
from mmmtl.structures import plain_map
from mmmtl.tasks import Task
from mmmtl.utils.files import safe_name, write_png
from mmmtl.visualization import draw_panel, write_raw
from mmmtl.visualization.savers import Saver


@dataclass
class Result:
    """What was predicted on one image.

    Attributes:
        sample_id: The image's name.
        path: Its file, '' for a picture in memory.
        pred: Task → prediction at the image's own size: class maps int64 (H, W); everything else float32
            (C, H, W) in the task's unit (``mmmtl.tasks``).
        uncertainty: Task → float32 (1, H, W), how far the predictions of an ensemble differ
            (:meth:`mmmtl.tasks.Task.spread`); None without an ensemble.
        panel: uint8 RGB picture of everything, if asked for.
        files: What was written.
    """

    sample_id: str
    path: str
    pred: Mapping[str, np.ndarray]
    panel: np.ndarray | None = None
    files: list[str] = field(default_factory=list)
    uncertainty: Mapping[str, np.ndarray] | None = None


class _Smooth:
    """Enlarges maps of uncertainty, whatever their task."""

    @staticmethod
    def enlarge_prediction(small: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        return torch.nn.functional.interpolate(small, size, mode='bilinear', align_corners=False)


def finish_result(
    item: ImageInput,
    images: Sequence[np.ndarray],
    tasks: Mapping[str, Task],
    maps: Mapping[str, np.ndarray],
    spread: Mapping[str, np.ndarray] | None = None,
    *,
    out_dir: str | None = None,
    panels: bool = True,
    raw: bool = True,
    draw: bool = False,
    savers: Sequence[Saver] = (),
) -> Result:
    """One image's predictions, drawn (with ``draw`` also where no panel is written) and written.

    Args:
        item, images: The image, its frames uint8 RGB (H, W, 3).
        tasks: All tasks of the network.
        maps, spread: What :func:`~mmmtl.inference.predict.predict_batch` gave.
        out_dir, panels, raw: See :meth:`mmmtl.apis.Inferencer.stream`.
        savers: Write further files into ``out_dir``.
    """
    size = images[0].shape[:2]
    small: Mapping[str, np.ndarray] = {name: plain_map(value) for name, value in maps.items()}
    pred, uncertainty, written = small, spread, small
    if is_large(size) or any(value.shape[-2:] != size for value in maps.values()):
        small = {name: thinned(value) for name, value in small.items()}  # a panel shows a few hundred pixels of it
        pred, written = EnlargedMaps(maps, tasks, size), EnlargedMaps(maps, tasks, size, compact=True)
        if spread is not None:
            uncertainty = EnlargedMaps(spread, dict.fromkeys(spread, _Smooth()), size)  # type: ignore[arg-type]
            spread = {name: thinned(value) for name, value in spread.items()}
    result = Result(item.sample_id, item.path, pred, uncertainty=uncertainty)
    if out_dir and raw:
        result.files += write_raw(osp.join(out_dir, 'predictions'), item.sample_id, written)
        result.files += write_raw(osp.join(out_dir, 'uncertainty'), item.sample_id, uncertainty or {})
    if out_dir:
        for save in savers:
            result.files += save(out_dir, item.sample_id, images[0], tasks, pred)
    if panels or draw:
        shown = {name: tasks[name] for name in maps}
        options = dict(title=item.sample_id, subtitle=f'{size[0]} × {size[1]}')
        second = images[1] if len(images) > 1 else None
        result.panel = draw_panel(images[0], shown, None, small, spread, image_next=second, **options)
        if out_dir and panels:
            path = osp.join(out_dir, 'panels', safe_name(item.sample_id) + '.png')
            result.files.append(write_png(path, result.panel))
    return result
