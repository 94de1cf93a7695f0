"""What the data sets of KITTI share: the crop of its benchmark."""

from __future__ import annotations

import numpy as np

from mmmtl.errors import FileError


def benchmark_crop(maps: np.ndarray, crop: tuple[int, int] | None = (352, 1216), where: str = '') -> np.ndarray:
    """The bottom rows and middle columns of maps (..., H, W).

    Args:
        maps: The maps.
        crop: (height, width) that is kept; None for everything.
        where: The file, for messages.

    Raises:
        FileError: Maps that are smaller.
    """
    if crop is None:
        return maps
    top, left = maps.shape[-2] - crop[0], int((maps.shape[-1] - crop[1]) / 2)
    if top < 0 or maps.shape[-1] < crop[1]:
        raise FileError(
            f'{where}: expected at least {crop[0]}x{crop[1]} pixels (height x width) to crop, found '
            f'{maps.shape[-2]}x{maps.shape[-1]}'
        )
    return np.ascontiguousarray(maps[..., top : top + crop[0], left : left + crop[1]])


def crop_picture(picture: np.ndarray, crop: tuple[int, int] | None, where: str) -> np.ndarray:
    """:func:`benchmark_crop` of a picture (H, W, 3)."""
    return np.ascontiguousarray(benchmark_crop(picture.transpose(2, 0, 1), crop, where).transpose(1, 2, 0))
