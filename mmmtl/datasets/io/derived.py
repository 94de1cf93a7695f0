"""Labels computed from other labels: boundaries of a class map, vectors from pictures."""

from __future__ import annotations

import cv2
import numpy as np

from mmmtl.evaluation.functional.boundary.thinning import thin
from mmmtl.tasks import IGNORE


def boundary_of_classes(classes: np.ndarray, unknown: np.ndarray | None = None) -> np.ndarray:
    """Thin boundaries between the regions of a class map, as the published PASCAL-Context recipe draws them.

    Pixels where the Laplacian of the ids differs from zero, thinned to lines one pixel wide.

    Args:
        classes: Integer (H, W).
        unknown: Boolean (H, W): pixels without a class. They and their four neighbours become unknown in the
            result, since what lies beyond the line is not known. Default: none.

    Returns:
        int64 (H, W) of 0, 1, 255.
    """
    response = np.abs(cv2.Laplacian(classes.astype(np.float64), cv2.CV_64F)) > 0
    boundary = thin(response).astype(np.int64)
    if unknown is not None and unknown.any():
        near = cv2.dilate(unknown.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3)))
        boundary[near > 0] = IGNORE
    return boundary


def decode_normals(picture: np.ndarray) -> np.ndarray:
    """Normals stored as colours, ``2 * value / 255 - 1`` per channel: uint8 (H, W, 3) → float32 (3, H, W).

    Vectors that are unit up to the rounding of eight bits stay as stored; others are brought to unit length;
    pixels that hold no direction (length outside 0.5 to 1.5, such as plain black or grey) are NaN.
    """
    table = (2.0 * np.arange(256) / 255.0 - 1.0).astype(np.float32)
    return unit_or_unknown(np.stack([cv2.LUT(plane, table) for plane in cv2.split(picture)]))


def unit_or_unknown(vectors: np.ndarray, tolerance: float = 0.02) -> np.ndarray:
    """float32 (3, H, W) with unit length where a direction is there, NaN elsewhere; see :func:`decode_normals`."""
    vectors = np.ascontiguousarray(vectors, np.float32)
    x, y, z = vectors
    length = np.sqrt(x * x + y * y + z * z)
    with np.errstate(invalid='ignore'):
        apart = np.abs(length - 1)
        direction = apart < 0.5
        off = direction & (apart > tolerance)
    if off.any():
        vectors = np.divide(vectors, length, out=vectors.copy(), where=off)
    return vectors if direction.all() else mask_invalid(vectors, ~direction)


def mask_invalid(values: np.ndarray, invalid: np.ndarray) -> np.ndarray:
    """float32 (C, H, W) with NaN in all channels where ``invalid`` (H, W)."""
    masked = np.array(values, np.float32)
    np.copyto(masked, np.float32(np.nan), where=invalid[None])
    return masked


def intrinsic_unknown(albedo: np.ndarray) -> np.ndarray:
    """Boolean (H, W): where an 8-bit albedo (H, W, 3) is too dark in a channel to divide by (below 0.004)."""
    return np.any(albedo < 0.004 * 255, axis=-1)


def decode_albedo(albedo: np.ndarray) -> np.ndarray:
    """Albedo stored as colours, uint8 (H, W, 3) → float32 (3, H, W) in [0, 1]."""
    return mask_invalid(albedo.transpose(2, 0, 1).astype(np.float32) / 255, intrinsic_unknown(albedo))


def decode_shading(shading: np.ndarray, albedo: np.ndarray) -> np.ndarray:
    """Shading stored as colours beside its albedo, both uint8 (H, W, 3) → its luminance, float32 (1, H, W) in [0, 1]."""
    return mask_invalid(luminance(shading.astype(np.float32))[None] / 255, intrinsic_unknown(albedo))


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Grey value of RGB (..., 3) by the CCIR 601 weights 0.3, 0.59, 0.11 as Hypersim's tools round them."""
    return rgb[..., 0] * 0.3 + rgb[..., 1] * 0.59 + rgb[..., 2] * 0.11
