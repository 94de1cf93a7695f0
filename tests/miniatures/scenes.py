"""What the miniatures show: Diorama scenes, and how files are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from mmmtl.datasets.diorama.render import CLASSES, render

FIGURE = CLASSES.index('figure')


def scene(number: int, size: tuple[int, int]) -> dict[str, np.ndarray]:
    """A Diorama scene in which a figure, a ball and a table can be seen."""
    for index in range(number * 100, number * 100 + 100):
        labels = render(seed=7, index=index, size=size)
        if all((labels['semseg'] == CLASSES.index(name)).sum() > 20 for name in ('figure', 'ball', 'table')):
            return labels
    raise RuntimeError(f'none of 100 scenes of {size} shows a figure, a ball and a table')


def save_picture(path: Path, array: np.ndarray, palette: bool = False) -> None:
    """Write a picture; with ``palette`` as an indexed one with colours that are not its ids."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.ascontiguousarray(array))
    if palette:
        picture = picture.convert('P') if picture.mode != 'L' else Image.fromarray(array, mode='P')
        picture.putpalette([(37 * k + 11 * c) % 256 for k in range(256) for c in range(3)])
    picture.save(path)


def save_ids(path: Path, ids: list[str]) -> None:
    """A split file with carriage returns and a blank line at the end, as in the published archives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes('\r\n'.join([*ids, '', '']).encode())


def normals_picture(normals: np.ndarray) -> np.ndarray:
    """float (3, H, W) → uint8 (H, W, 3)."""
    return np.round((normals.transpose(1, 2, 0) + 1) * 127.5).astype(np.uint8)
