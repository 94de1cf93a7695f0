"""Surface normals from a depth map, and those of Virtual KITTI 2."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mmmtl.datasets.io.pictures import read_map
from mmmtl.errors import FileError, InputError
from mmmtl.utils.files import write_npy

from .jobs import Job, convert

VKITTI2_CAMERA = (725.0087, 725.0087, 620.5, 187.0)


def _slopes(inverse: np.ndarray, axis: int) -> np.ndarray:
    """Derivative of a map along an axis, from the side on which it is straighter.

    The differences to both neighbours are mixed by weights that fall with the bend (second difference) one pixel
    further on that side: across a depth edge the far side's weight vanishes.
    """
    values = np.moveaxis(inverse, axis, 0)
    step = np.diff(values, axis=0)
    ends = [(1, 1)] + [(0, 0)] * (values.ndim - 1)
    bend = np.pad(np.abs(np.diff(step, axis=0)), ends, mode='edge')  # at each pixel, the ends repeat
    before = np.concatenate([step[:1], step])
    after = np.concatenate([step, step[-1:]])
    bend_before = np.concatenate([bend[:1], bend[:-1]])
    bend_after = np.concatenate([bend[1:], bend[-1:]])
    floor = np.maximum(np.abs(values) * 1e-9, 1e-15)
    weight_before, weight_after = bend_after + floor, bend_before + floor
    slope = (before * weight_before + after * weight_after) / (weight_before + weight_after)
    return np.moveaxis(slope, 0, axis)


def _straightest(normals: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Every pixel takes the normal of that one of itself and its four neighbours at which the map bends least."""
    padded = np.pad(inverse, 1, mode='reflect', reflect_type='odd')
    bend = np.abs(padded[1:-1, :-2] + padded[1:-1, 2:] + padded[:-2, 1:-1] + padded[2:, 1:-1] - 4 * inverse) / inverse
    height, width = inverse.shape
    rows, columns = np.indices((height, width))
    best, source = bend.copy(), (rows.copy(), columns.copy())
    for down, right in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        r, c = (rows + down).clip(0, height - 1), (columns + right).clip(0, width - 1)
        better = bend[r, c] < best
        best = np.where(better, bend[r, c], best)
        source = np.where(better, r, source[0]), np.where(better, c, source[1])
    return normals[:, source[0], source[1]]


def normals_from_depth(depth: np.ndarray, camera: tuple[float, float, float, float], refine: bool = True) -> np.ndarray:
    """Normals by the translation of D2NT (Feng et al., ICRA 2023, equation 4), on slopes of the inverse depth.

    A plane has ``n ∝ (fx ∂z/∂u, fy ∂z/∂v, -(z + (u - cx) ∂z/∂u + (v - cy) ∂z/∂v))``. With ``w = 1 / z`` and
    ``∂z = -z² ∂w`` this is ``(fx ∂w/∂u, fy ∂w/∂v, w - (u - cx) ∂w/∂u - (v - cy) ∂w/∂v)`` up to a factor, and ``w`` is a
    linear function of the pixel, so that differences of ``w`` are exact on planes where those of ``z`` are not.
    At depth edges the slope comes from the straighter side, and the normal from the least bent neighbour; both follow
    the idea, not the weights, of D2NT's discontinuity-aware gradient and refinement.

    Args:
        depth: (H, W) metres along the optical axis, positive; other values give NaN.
        camera: fx, fy, cx, cy in pixels, pixel centres at whole numbers.
        refine: Take the normal of the least bent neighbour.

    Returns:
        float32 (3, H, W), unit length, x right, y up, z towards the viewer.

    Raises:
        InputError: A map of fewer than 3 pixels in a direction.
    """
    if depth.ndim != 2 or min(depth.shape) < 3:
        raise InputError(f'normals_from_depth: expected (H, W) of at least 3x3 pixels, found {depth.shape}')
    fx, fy, cx, cy = camera
    known = np.isfinite(depth) & (depth > 0)
    inverse = 1 / np.where(known, depth, np.inf).clip(1e-6, 1e6).astype(np.float64)
    rows, columns = np.indices(depth.shape)
    across, down = _slopes(inverse, 1), _slopes(inverse, 0)
    # n·P = const > 0 for a normal that points away from the camera: turned round, and y and z turned up and back
    away = np.stack([fx * across, fy * down, inverse - (columns - cx) * across - (rows - cy) * down])
    normals = away * np.array([-1.0, 1.0, 1.0])[:, None, None]
    normals /= np.maximum(np.linalg.norm(normals, axis=0), 1e-12)
    if refine:
        normals = _straightest(normals, inverse)
    return np.where(known, normals, np.nan).astype(np.float32)


def _vkitti2_frame(outputs: dict[str, Path], depth: str, camera: tuple[float, float, float, float]) -> None:
    metres = read_map(depth, dtype=np.uint16).astype(np.float64) / 100
    normals = normals_from_depth(metres, camera)
    left = np.nan_to_num(normals) * np.array([-1, 1, 1], np.float32)[:, None, None]
    write_npy(outputs['normals'], np.ascontiguousarray(left.transpose(1, 2, 0)))


def prepare_vkitti2_normals(
    root: str | Path,
    workers: int = 0,
    progress: bool = True,
    camera: tuple[float, float, float, float] = VKITTI2_CAMERA,
) -> tuple[int, int]:
    """Normals of every depth picture: ``root/original/...`` → ``root/normal_estimated/.../normal_N.npy``.

    The files are float32 (H, W, 3), x to the **left**, y up, z towards the viewer, as the published ones.

    Args:
        root: Folder with ``original``.
        workers: Processes.
        progress: Show a progress bar.
        camera: fx, fy, cx, cy.

    Returns:
        Files made now and before.

    Raises:
        FileError: No depth pictures, or some that cannot be read.
    """
    root = Path(root)
    jobs = []
    for path in sorted((root / 'original').glob('Scene*/*/frames/depth/Camera_[01]/depth_*.png')):
        relative = path.relative_to(root / 'original')
        scene, variant, _, _, side, name = relative.parts
        target = root / 'normal_estimated' / scene / variant / 'frames' / 'normal' / side
        jobs.append(
            Job(
                str(relative),
                dict(normals=target / name.replace('depth_', 'normal_').replace('.png', '.npy')),
                dict(depth=str(path), camera=tuple(camera)),
            )
        )
    if not jobs:
        raise FileError(f'{root}: expected original/SceneNN/VARIANT/frames/depth/Camera_C/depth_N.png, found none')
    return convert(_vkitti2_frame, jobs, workers, progress, 'normals of VKITTI2')
