"""Non-maximum suppression of a boundary probability map across the direction of the boundary.

Formulas: Dollár and Zitnick, Structured Forests for Fast Edge Detection (ICCV 2013); radius, tolerance and
border as in the evaluation chain of ATRC, which InvPT, TaskPrompter, DiffusionMTL and TaskDiffusion use.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import correlate1d

from mmmtl.errors import InputError


def triangle_filter(image: np.ndarray, radius: int) -> np.ndarray:
    """Smooth with the separable kernel 1, 2, .. radius + 1, .. 2, 1 over (radius + 1)², edges mirrored.

    Args:
        image: float (H, W).
        radius: Half-width of the kernel in pixels.
    """
    rising = np.arange(1, radius + 2, dtype=np.float64)
    kernel = np.concatenate([rising, rising[-2::-1]]) / (radius + 1) ** 2
    smooth = correlate1d(image, kernel, axis=0, mode='reflect')
    return correlate1d(smooth, kernel, axis=1, mode='reflect')


def orientation(edges: np.ndarray, radius: int = 4) -> np.ndarray:
    """Direction across the boundary in [0, π), from second derivatives of the smoothed map.

    The published formula compares the second derivatives along x and y, that is, the squares of the direction's sine
    and cosine: it is exact along axes and diagonals and up to 13 degrees off between them.

    Args:
        edges: float (H, W), at least 2 × 2.
        radius: Radius of :func:`triangle_filter`.
    """
    along_y, along_x = np.gradient(triangle_filter(edges, radius))
    xx = np.gradient(along_x, axis=1)
    yy, xy = np.gradient(along_y)
    return np.mod(np.arctan(yy * np.sign(-xy) / (xx + np.float32(1e-5))), np.float32(np.pi))


def _sample(image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Bilinear values at (x, y); coordinates are clamped to [0, size - 1.001]."""
    height, width = image.shape
    x = np.clip(x, np.float32(0), np.float32(width - 1.001))
    y = np.clip(y, np.float32(0), np.float32(height - 1.001))
    column, row = x.astype(np.intp), y.astype(np.intp)
    dx, dy = x - column.astype(np.float32), y - row.astype(np.float32)
    flat, start = image.ravel(), row * width + column
    upper = flat[start] * (1 - dx) + flat[start + 1] * dx
    lower = flat[start + width] * (1 - dx) + flat[start + width + 1] * dx
    return upper * (1 - dy) + lower * dy


def suppress(
    edges: np.ndarray, radius: int = 1, tolerance: float = 1.01, border: int = 5, smoothing: int = 4
) -> np.ndarray:
    """Keep a pixel only where no neighbour across the boundary is stronger, and fade out the image's border.

    Args:
        edges: float (H, W) in [0, 1], at least 2 × 2; computed in float32.
        radius: Neighbours at distances 1 .. ``radius`` on both sides, interpolated bilinearly.
        tolerance: A pixel survives when its value times this is not below the neighbour's.
        border: The outermost ``border`` rows and columns are multiplied by k / ``border``, k = 0 at the rim.
        smoothing: Radius of the triangle filter before the orientation.

    Returns:
        float32 (H, W): the suppressed map.
    """
    edges = np.ascontiguousarray(edges, np.float32)
    height, width = edges.shape
    if min(height, width) < 2:
        raise InputError(f'non-maximum suppression needs an image of at least 2 x 2 pixels, got {height} x {width}')
    rows, columns = np.nonzero(edges)
    value = edges[rows, columns]
    angle = orientation(edges, smoothing)[rows, columns]
    step_x, step_y = np.cos(angle), np.sin(angle)
    x, y = columns.astype(np.float32), rows.astype(np.float32)
    alive = np.ones(len(value), bool)
    for distance in range(1, radius + 1):
        for signed in (-distance, distance):
            across = _sample(edges, x + signed * step_x, y + signed * step_y)
            alive &= value * np.float32(tolerance) >= across
    kept = np.zeros_like(edges)
    kept[rows[alive], columns[alive]] = value[alive]
    reach = min(border, height // 2, width // 2)
    for axis, size in ((0, height), (1, width)):
        fade = np.ones(size, np.float32)
        fade[:reach] = np.arange(reach) / np.float32(max(reach, 1))
        fade[size - reach :] = fade[:reach][::-1]
        kept *= fade[:, None] if axis == 0 else fade[None, :]
    return kept
