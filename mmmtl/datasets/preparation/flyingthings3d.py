"""FlyingThings3D's disparities and flows → points, scene flow and flow pictures."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.arrays import encode_flow, read_flo, read_pfm
from mmmtl.errors import FileError
from mmmtl.utils.files import write_atomically, write_npy, write_png

from .jobs import Job, convert

CAMERA = (1050.0, 479.5, 269.5)
BASELINE = 1.0


def _points(disparity: np.ndarray, camera: tuple[float, float, float], flow: np.ndarray | None = None) -> np.ndarray:
    """Points (H, W, 3) of a disparity map whose values belong to the pixels ``flow`` (H, W, 2) away."""
    focal, cx, cy = camera
    rows, columns = np.indices(disparity.shape, np.float32)
    if flow is not None:
        columns, rows = columns + flow[..., 0], rows + flow[..., 1]
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = BASELINE * focal / disparity
        return np.stack([(columns - cx) * depth / focal, (rows - cy) * depth / focal, depth], -1)


def scene_flow_of_disparity(
    disparity: np.ndarray,
    change: np.ndarray,
    flow: np.ndarray,
    camera: tuple[float, float, float] = CAMERA,
    max_depth: float = 35.0,
) -> tuple[np.ndarray, np.ndarray]:
    """Where the points of a frame are and how they move.

    A pixel at ``x`` with disparity ``d`` is seen at ``x + flow`` with disparity ``d + change`` in the next frame; the
    point is ``baseline · f / d`` away, and its motion the difference of the two points.

    Args:
        disparity, change: (H, W) pixels, both positive for near points coming nearer, or both negated as the subset
            stores them.
        flow: (H, W, 2) pixels right and down, NaN where unknown.
        camera: Focal length and principal point (x, y).
        max_depth: Points at or beyond are left out.

    Returns:
        points, motion: float32 (n, 3), x right, y down, z forward, in units of the baseline.
    """
    sign = -1.0 if np.nanmedian(disparity) < 0 else 1.0
    first = _points(sign * disparity, camera)
    motion = _points(sign * (disparity + change), camera, flow) - first
    with np.errstate(invalid='ignore'):
        known = (first[..., 2] > 0) & (first[..., 2] < max_depth) & np.isfinite(motion).all(-1)
    return first[known].astype(np.float32), motion[known].astype(np.float32)


def _frame(outputs: dict[str, Path], source: str, number: str, camera: tuple[float, float, float]) -> None:
    root = Path(source)
    disparity = read_pfm(root / 'disparity' / 'left' / f'{number}.pfm')
    change = read_pfm(root / 'disparity_change' / 'left' / 'into_future' / f'{number}.pfm')
    flow = read_flo(root / 'flow' / 'left' / 'into_future' / f'{number}.flo')
    if not disparity.shape == change.shape == flow.shape[:2]:
        raise FileError(
            f'expected maps of one size, found disparity {disparity.shape}, its change {change.shape} and '
            f'flow {flow.shape[:2]}'
        )
    points, motion = scene_flow_of_disparity(disparity, change, flow, camera)
    with np.errstate(invalid='ignore'):
        slow = (np.abs(flow) < 500).all(-1)  # the code ends at 512 pixels; False for NaN
    write_atomically(outputs['points'], lambda file: np.savez(file, pc1=points))
    write_npy(outputs['motion'], motion)
    write_png(outputs['flow'], encode_flow(np.nan_to_num(flow).transpose(2, 0, 1), slow))


def _copy(outputs: dict[str, Path], source: str) -> None:
    def write(file: Any) -> None:
        with open(source, 'rb') as original:
            shutil.copyfileobj(original, file)

    write_atomically(outputs['image'], write)


def prepare_flyingthings3d(
    source: str | Path,
    target: str | Path,
    splits: tuple[str, ...] = ('train', 'val'),
    workers: int = 0,
    progress: bool = True,
    camera: tuple[float, float, float] = CAMERA,
) -> tuple[int, int]:
    """The downloaded subset → ``target/SPLIT/{image_clean,flow_2d,flow_3d,pc}``.

    Flow of 500 pixels or more in a direction is unknown in ``flow_2d``; points 35 units away or farther, and those
    whose motion is unknown, are not in ``pc`` and ``flow_3d``; occluded points are.

    Args:
        source: The unpacked subset: ``disparity/left/N.pfm``, ``disparity_change/left/into_future/N.pfm``,
            ``flow/left/into_future/N.flo``, ``image_clean/left/N.png`` under each split.
        target: Output folder.
        splits: Splits that are there.
        workers: Processes.
        progress: Show a progress bar.
        camera: Focal length and principal point (x, y).

    Returns:
        Frames and photographs made now, and before.

    Raises:
        FileError: Nothing found, or files that are missing or damaged.
    """
    made = before = 0
    for split in splits:
        start, end = Path(source, split), Path(target, split)
        numbers = sorted(path.stem for path in (start / 'flow' / 'left' / 'into_future').glob('*.flo'))
        frames = [
            Job(
                f'{split}/{n}',
                dict(
                    points=end / 'pc' / f'{n}.npz',
                    motion=end / 'flow_3d' / f'{n}.npy',
                    flow=end / 'flow_2d' / f'{n}.png',
                ),
                dict(source=str(start), number=n, camera=tuple(camera)),
            )
            for n in numbers
        ]
        images = [
            Job(f'{split}/{path.name}', dict(image=end / 'image_clean' / path.name), dict(source=str(path)))
            for path in sorted((start / 'image_clean' / 'left').glob('*.png'))
        ]
        for work, jobs, title in ((_frame, frames, 'points'), (_copy, images, 'photographs')):
            new, old = convert(work, jobs, workers, progress, f'FlyingThings3D {split}: {title}')
            made, before = made + new, before + old
    return made, before
