"""Coloured point clouds out of depth: pinhole geometry, and PLY files."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.utils.files import write_atomically

FOV = 60.0
"""Horizontal field of view in degrees that is taken where nothing is known of the camera."""
Intrinsics = tuple[float, float, float, float]


def intrinsics_of(
    size: tuple[int, int], intrinsics: Sequence[float] | None = None, fov: float | None = None
) -> Intrinsics:
    """(fx, fy, cx, cy) in pixels of an image.

    Args:
        size: (H, W) of the image.
        intrinsics: (fx, fy, cx, cy) in its pixels; the middle of the upper left pixel is (0, 0).
        fov: Horizontal field of view in degrees, of a camera with square pixels and its axis through the image's middle;
            default: :data:`FOV`.

    Raises:
        ConfigError: Both given, or numbers that no camera has.
    """
    if intrinsics is not None:
        if fov is not None:
            raise ConfigError('give intrinsics or fov, not both')
        values = tuple(float(v) for v in intrinsics)
        if len(values) != 4 or not all(map(math.isfinite, values)) or values[0] <= 0 or values[1] <= 0:
            raise ConfigError(f'intrinsics must be fx, fy, cx, cy in pixels, fx and fy above 0, got {intrinsics!r}')
        return values  # type: ignore[return-value]
    fov = FOV if fov is None else fov
    if not 0 < fov < 180:
        raise ConfigError(f'fov must be between 0 and 180 degrees, got {fov}')
    height, width = size
    focal = width / 2 / math.tan(math.radians(fov) / 2)
    return focal, focal, (width - 1) / 2, (height - 1) / 2


def unproject(depth: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Points of a depth map, float32 (3, H, W) in its unit: x to the right, y up, z towards the viewer, as normals are.

    Args:
        depth: (1, H, W) or (H, W), along the optical axis.
        intrinsics: See :func:`intrinsics_of`.
    """
    fx, fy, cx, cy = intrinsics
    depth = np.asarray(depth, np.float32).reshape(np.shape(depth)[-2:])
    rows, columns = np.indices(depth.shape, np.float32)
    return np.stack([(columns - cx) / fx * depth, -(rows - cy) / fy * depth, -depth])


def write_ply(
    path: str, points: np.ndarray, colours: np.ndarray, normals: np.ndarray | None = None, comment: str = ''
) -> str:
    """Write a binary PLY file of vertices.

    Args:
        path: Destination.
        points: (3, H, W); points that are not finite, or lie in the camera (z = 0), are left out.
        colours: uint8 RGB (H, W, 3).
        normals: (3, H, W), in the points' axes.
        comment: Of the header, a line of ASCII.

    Returns:
        ``path``.
    """
    fields = [(name, '<f4') for name in 'xyz']
    columns = list(points)
    if normals is not None:
        fields += [(name, '<f4') for name in ('nx', 'ny', 'nz')]
        columns += list(normals)
    fields += [(name, 'u1') for name in ('red', 'green', 'blue')]
    columns += list(np.moveaxis(colours, -1, 0))
    kept = np.isfinite(points).all(0) & (points[2] != 0)
    vertices = np.empty(int(kept.sum()), fields)
    for (name, _), values in zip(fields, columns):
        vertices[name] = values[kept]
    kinds = {'<f4': 'float', 'u1': 'uchar'}
    lines = ['ply', 'format binary_little_endian 1.0', *([f'comment {comment}'] if comment else [])]
    lines += [f'element vertex {len(vertices)}', *(f'property {kinds[kind]} {name}' for name, kind in fields)]
    return write_atomically(path, ['\n'.join([*lines, 'end_header', '']).encode('ascii'), vertices.tobytes()])
