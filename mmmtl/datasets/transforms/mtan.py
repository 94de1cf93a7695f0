"""The augmentation of the small NYUDv2 and Cityscapes benchmarks: crop a part and enlarge it to the whole size."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import TRANSFORMS
from mmmtl.tasks import Task

from .base import Results, Transform, map_images, map_labels
from .geometry import crop_results, update_scale


def _bilinear(planes: np.ndarray, size: tuple[int, int]) -> torch.Tensor:
    """(C, h, w) on a grid of ``size``, corners on corners."""
    tensor = torch.from_numpy(np.ascontiguousarray(planes, np.float32))[None]
    return F.interpolate(tensor, size, mode='bilinear', align_corners=True)


@TRANSFORMS.register_module()
class RandomScaleCrop(Transform):
    """Cut out 1 / s of both sides at a random place and enlarge it to the old size (MTAN, MTPSL).

    The image is interpolated bilinearly with corners on corners, labels by nearest pixel with their values as
    if the camera had come s times closer (depth / s), but the labels named in ``smooth`` bilinearly and
    brought back to valid values; unknown pixels spread to their neighbours there.

    Draws: ``randint(0, len(scales) - 1)``, ``randint(0, height - h)``, ``randint(0, width - w)`` with h =
    int(height / s).

    Args:
        scales: The factors s, at least 1.
        smooth: Tasks whose label is interpolated (as published: surface normals).
    """

    draws_random = True

    def __init__(self, scales: Sequence[float] = (1.0, 1.2, 1.5), smooth: Sequence[str] = ()) -> None:
        if not scales or min(scales) < 1:
            raise ConfigError(f'RandomScaleCrop: scales must be 1 or more, got {scales}')
        self.scales, self.smooth = tuple(float(s) for s in scales), tuple(smooth)

    def transform(self, results: Results) -> Results:
        for name in self.smooth:
            task = results['tasks'].get(name)
            if task is None or task.categorical:
                continuous = [n for n, t in results['tasks'].items() if not t.categorical]
                raise ConfigError(
                    f"RandomScaleCrop.smooth: '{name}' is not a continuous task of this dataset ({continuous})."
                    f'{suggest(name, continuous)}'
                )
        rng = results['rng']
        factor = self.scales[rng.randint(0, len(self.scales) - 1)]
        size = height, width = results['img'].shape[:2]
        part = int(height / factor), int(width / factor)
        top = rng.randint(0, height - part[0])
        left = rng.randint(0, width - part[1])
        crop_results(results, top, left, *part)
        update_scale(results, size)
        map_images(results, lambda image: _bilinear(image.transpose(2, 0, 1), size)[0].permute(1, 2, 0).numpy())
        map_labels(results, lambda task, label: self._enlarge(task, label, size, factor))
        results['img_shape'] = size
        return results

    def _enlarge(self, task: Task, label: np.ndarray, size: tuple[int, int], factor: float) -> np.ndarray:
        if task.name in self.smooth:
            label = task.predict(_bilinear(label, size))[0].numpy()
        else:
            label = task.resize(label, size)
        return task.zoom(label, factor)
