"""Large images in overlapping tiles, whose raw maps are blended."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from mmmtl.structures import smallest_integers
from mmmtl.tasks import Task

Box = tuple[int, int, int, int]
"""Top, left, height and width in pixels."""


def tile_starts(length: int, tile: int, overlap: float) -> list[int]:
    """Where tiles of length ``tile`` begin so that they cover ``length`` and overlap by that share at least, evenly."""
    if length <= tile:
        return [0]
    count = -(-(length - round(tile * overlap)) // max(tile - round(tile * overlap), 1))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def tile_boxes(size: tuple[int, int], tile: tuple[int, int], overlap: float) -> list[list[Box]]:
    """Rows of boxes that cover an image of ``size`` = (H, W)."""
    height, width = (min(a, b) for a, b in zip(size, tile))
    lefts = tile_starts(size[1], width, overlap)
    return [[(top, left, height, width) for left in lefts] for top in tile_starts(size[0], height, overlap)]


def window(height: int, width: int) -> Tensor:
    """Weights (height, width) that fall from the middle of a tile to its border, nowhere to zero."""
    rows, columns = (1 - ((torch.arange(n) + 0.5) * 2 / n - 1).abs() * 0.99 for n in (height, width))
    return rows[:, None] * columns[None]


def predict_in_tiles(
    raw_maps: Callable[[Box], Mapping[str, Tensor]],
    tasks: Mapping[str, Task],
    size: tuple[int, int],
    tile: tuple[int, int],
    overlap: float = 0.25,
    progress: bool = True,
) -> dict[str, np.ndarray]:
    """Predictions of an image, tile by tile and blended where tiles overlap.

    What is blended is what :meth:`~mmmtl.tasks.Task.to_average` makes of the raw maps: probabilities, unit vectors,
    values. Rows that no further tile reaches are finished and let go, so that only predictions grow with the image.

    Args:
        raw_maps: Gives ``{task: raw map (1, C, h, w)}`` of a box.
        tasks: The tasks.
        size: (H, W) of the image.
        tile: (H, W) of a tile.
        overlap: Share of a tile that its neighbours cover, too.
        progress: Show a progress bar with the time left when it takes longer than five seconds.

    Returns:
        ``{task: (C, H, W)}``, in the form of :meth:`~mmmtl.tasks.Task.predict`, class maps in the smallest type of
        integers.
    """
    boxes = tile_boxes(size, tile, overlap)
    sums: dict[str, Tensor] = {}
    done: dict[str, np.ndarray] = {}
    weights = torch.zeros(boxes[0][0][2], size[1])
    bar = tqdm(total=sum(map(len, boxes)), desc='tiles', unit='tile', delay=5, leave=False, disable=not progress)
    for number, row in enumerate(boxes):
        top, height = row[0][0], row[0][2]
        for box in row:
            _, left, _, width = box
            weight = window(height, width)
            weights[:, left : left + width] += weight
            for name, raw in raw_maps(box).items():
                part = tasks[name].to_average(raw.float().cpu())[0]
                total = sums.setdefault(name, torch.zeros(part.shape[0], height, size[1]))
                total[..., left : left + width] += part * weight
            bar.update()
        following = boxes[number + 1][0][0] - top if number + 1 < len(boxes) else height
        for name, total in sums.items():
            mean = total[:, :following] / weights[:following]
            part = smallest_integers(tasks[name].predict(tasks[name].from_average(mean[None]))[0].numpy())
            whole = done.setdefault(name, np.empty((len(part), *size), part.dtype))
            whole[:, top : top + following] = part
            sums[name] = torch.cat([total[:, following:], torch.zeros_like(total[:, :following])], 1)
        weights = torch.cat([weights[following:], torch.zeros_like(weights[:following])])
    bar.close()
    return done
