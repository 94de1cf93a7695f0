"""From decoded pictures to predictions: what each task reads in them, and what of several may be averaged."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.models.layers.conv_block import on_grid
from mmmtl.tasks import Task


def read_pictures(task: Task, views: Tensor, size: tuple[int, int]) -> Tensor:
    """The prediction (C, H, W) at ``size`` out of pictures (V, 3, h, w) of V views."""
    if not task.categorical:
        return task.from_image(on_grid(views.mean(0, keepdim=True), size))[0]
    said = _said(task, views, size)
    if len(said) == 1:
        return said[0]
    return finish(task, said.mean(0) if said.is_floating_point() else _votes(task, said).mean(0))


def averageable(task: Task, views: Tensor, size: tuple[int, int]) -> Tensor:
    """What pictures (V, 3, h, w) say, (V, K, H, W): votes for classes, else probabilities, values or unit vectors."""
    said = _said(task, views, size) if task.categorical else task.from_image(on_grid(views, size))
    return said if said.is_floating_point() else _votes(task, said)


def finish(task: Task, mean: Tensor) -> Tensor:
    """The class with most votes, or the mean (K, H, W), of unit length where the task has it."""
    if not task.categorical:
        return task.predict(mean[None])[0]
    return mean.argmax(0, keepdim=True) if len(mean) > 1 else mean


def _said(task: Task, views: Tensor, size: tuple[int, int]) -> Tensor:
    """Classes int64 or probabilities (V, 1, H, W): read first and resized then, as between two colours lies a third's."""
    said = task.from_image(views)
    if said.is_floating_point():
        return on_grid(said, size)
    return F.interpolate(said.float(), size, mode='nearest-exact').long()


def _votes(task: Task, classes: Tensor) -> Tensor:
    """Classes (V, 1, H, W) → (V, K, H, W), one in the class's channel."""
    empty = torch.zeros(len(classes), task.out_channels, *classes.shape[-2:], device=classes.device)
    return empty.scatter_(1, classes, 1.0)
