"""A prediction coming about, step by step, as an animated picture."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image

from mmmtl.structures import Explanation
from mmmtl.utils.files import write_atomically

from .panel import draw_rows


def draw_film(explanation: Explanation, image: np.ndarray, tasks: Mapping, title: str = '') -> list[np.ndarray]:
    """A panel for every step of an explanation of kind ``prediction``, in the last step's range of values.

    Args:
        explanation: A row per task, a column per step; its cells are numpy arrays (C, h, w).
        image: uint8 RGB (H, W, 3).
        tasks: ``{name: Task}``.
        title: What stands above, usually the image's name.

    Returns:
        uint8 RGB pictures of one size.
    """
    shown = {name: tasks[name] for name in explanation.rows}
    steps = [
        {name: row[k] for name, row in zip(explanation.rows, explanation.cells)}
        for k in range(len(explanation.columns))
    ]
    frames = [
        draw_rows(image, shown, {'prediction': maps}, reference=steps[-1], title=title, subtitle=name)
        for maps, name in zip(steps, explanation.columns)
    ]
    height, width = (max(frame.shape[axis] for frame in frames) for axis in (0, 1))
    sheets = [np.full((height, width, 3), 255, np.uint8) for _ in frames]
    for sheet, frame in zip(sheets, frames):
        sheet[: frame.shape[0], : frame.shape[1]] = frame
    return sheets


def write_film(path: str, frames: Sequence[np.ndarray], seconds: float = 1.2) -> str:
    """Write pictures as an animated WebP that begins again at its end, the last picture shown twice as long.

    Args:
        path: Destination.
        frames: uint8 RGB (H, W, 3), of one size.
        seconds: How long each is shown.

    Returns:
        ``path``.
    """
    first, *others = [Image.fromarray(frame) for frame in frames]
    duration = [round(1000 * seconds)] * len(frames)
    duration[-1] *= 2
    file = io.BytesIO()
    first.save(file, 'WEBP', save_all=True, append_images=others, duration=duration, loop=0, quality=85)
    return write_atomically(path, file.getvalue())
