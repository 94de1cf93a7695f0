"""Thinning of binary maps to lines one pixel wide, by lookup tables."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

# Weight of every neighbour in the code of a pixel: its eight neighbours as bits, east first, counter-clockwise.
_WEIGHTS = np.array([[8, 4, 2], [16, 0, 1], [32, 64, 128]], np.float32)


@lru_cache(maxsize=1)
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """For every code of the eight neighbours: does the pixel stay, in either half of a pass?

    The conditions G1, G2, G3 of Guo and Hall, "Parallel thinning with two-subiteration algorithms", CACM
    32(3), 1989.
    """
    codes = np.arange(256)
    # x[1] east, x[2] north-east, x[3] north, ...; x[0] is not used
    x = [codes < 0] + [(codes >> k & 1).astype(bool) for k in range(8)]
    x.append(x[1])
    crossings = sum((~x[2 * i - 1] & (x[2 * i] | x[2 * i + 1])).astype(int) for i in range(1, 5))
    one = sum((x[2 * k - 1] | x[2 * k]).astype(int) for k in range(1, 5))
    two = sum((x[2 * k] | x[2 * k + 1]).astype(int) for k in range(1, 5))
    least = np.minimum(one, two)
    removable = (crossings == 1) & (least >= 2) & (least <= 3)
    first = removable & ~((x[2] | x[3] | ~x[8]) & x[1])
    second = removable & ~((x[6] | x[7] | ~x[4]) & x[5])
    return (~first).astype(np.uint8), (~second).astype(np.uint8)


def thin(mask: np.ndarray) -> np.ndarray:
    """Thin a binary map until nothing changes; the result of ``skimage.morphology.thin``, several times
    faster.

    Args:
        mask: (H, W); non-zero is foreground.

    Returns:
        Boolean (H, W).
    """
    line = np.ascontiguousarray(np.asarray(mask) != 0).view(np.uint8)
    left = int(line.sum())
    while True:
        for table in _tables():
            code = cv2.filter2D(line, cv2.CV_8U, _WEIGHTS, borderType=cv2.BORDER_CONSTANT)
            line = cv2.bitwise_and(line, cv2.LUT(code, table))
        before, left = left, int(cv2.countNonZero(line))
        if left == before:
            return line.astype(bool)
