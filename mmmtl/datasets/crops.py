"""The crops that benchmarks of street scenes and motion keep of their frames."""

from __future__ import annotations

import numpy as np

from mmmtl.datasets.io.pictures import read_image
from mmmtl.errors import FileError


def benchmark_crop(
    maps: np.ndarray, crop: tuple[int, int] | None = (352, 1216), where: str = '', middle: bool = False
) -> np.ndarray:
    """The bottom rows, or the middle ones, and the middle columns of maps (..., H, W).

    Args:
        maps: The maps.
        crop: (height, width) that is kept; None for everything.
        where: The file, for messages.
        middle: The middle rows.

    Raises:
        FileError: Maps that are smaller.
    """
    if crop is None:
        return maps
    top, left = (maps.shape[-2] - crop[0]) // (2 if middle else 1), (maps.shape[-1] - crop[1]) // 2
    if top < 0 or maps.shape[-1] < crop[1]:
        raise FileError(
            f'{where}: expected at least {crop[0]}x{crop[1]} pixels (height x width) to crop, found '
            f'{maps.shape[-2]}x{maps.shape[-1]}'
        )
    return np.ascontiguousarray(maps[..., top : top + crop[0], left : left + crop[1]])


def cropped_image(path: str, crop: tuple[int, int] | None, middle: bool = False) -> np.ndarray:
    """:func:`benchmark_crop` of a photograph."""
    planes = benchmark_crop(read_image(path).transpose(2, 0, 1), crop, path, middle)
    return np.ascontiguousarray(planes.transpose(1, 2, 0))
