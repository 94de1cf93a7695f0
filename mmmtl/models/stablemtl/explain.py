"""What a main stream attends to: the weights of its task attention, read by hooks while it predicts."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.diffusion.noise import NoiseSource
from mmmtl.structures import Explanation


def attended_sources(model: Any, inputs: Tensor, noise: NoiseSource) -> list[Explanation]:
    """The share that every auxiliary task has in the task attention of every main task, mean over heads and layers.

    Args:
        model: A multi-stream :class:`~mmmtl.models.stablemtl.model.LatentMultiTaskModel`.
        inputs: (B, 3, H, W) or (B, 2, 3, H, W), in [-1, 1].
        noise: Noise source.

    Returns:
        One explanation; a row per main task, a column per source, maps (B, 1, h, w) on the latents' grid.
    """
    names = list(model.tasks)
    size = tuple(n // model.autoencoder.factor for n in inputs.shape[-2:])
    sums = {task: torch.zeros(len(names), len(inputs), *size) for task in names}  # S, B, h, w
    layers = list(model.task_attention.values())

    def record(attention: nn.Module, args: tuple, options: dict, out: Tensor) -> None:
        a, task, key, _ = args
        if len(options['masked']) == len(key):
            return
        weights = attention.weights(a, task, key, options['masked']).mean(-1).float()  # S, B, N
        sums[task] += F.interpolate(weights.unflatten(-1, _grid(size, weights.shape[-1])).cpu(), size) / len(layers)

    hooks = [layer.register_forward_hook(record, with_kwargs=True) for layer in layers]
    try:
        model.raw_maps(inputs, noise, names)
    finally:
        for hook in hooks:
            hook.remove()
    cells = [[sums[task][s][:, None] for s in range(len(names))] for task in names]
    return [
        Explanation(
            'task-attention',
            'What the main stream attends to',
            'share',
            rows=names,
            columns=names,
            cells=cells,
            note='Row: the task that is predicted. Column: the share of the task whose auxiliary feature it attends to.',
        )
    ]


def _grid(size: tuple[int, ...], count: int) -> tuple[int, int]:
    """(h, w) of a layer with ``count`` pixels: the latents' grid, halved (rounding up) some times."""
    height, width = size
    while height * width > count:
        height, width = -(-height // 2), -(-width // 2)
    return height, width
