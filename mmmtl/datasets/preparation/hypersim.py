"""Hypersim's HDF5 files → photographs, depth, normals, albedo and shading."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from mmmtl.datasets.hypersim import hypersim_files
from mmmtl.datasets.io.arrays import read_hdf5
from mmmtl.errors import FileError
from mmmtl.utils.files import read_text, write_npy, write_png

from .jobs import Job, convert
from .tone import to_bytes, tone_map, tone_scale

FOCAL = 886.81
"""Pixels at a width of 1024, of a camera without shift."""
FILTERED = {
    'ai_004_009/cam_01_fr0000',
    'ai_008_001/cam_01_fr0000',
    'ai_008_001/cam_02_fr0000',
    'ai_011_005/cam_01_fr0000',
    'ai_016_009/cam_00_fr0000',
    'ai_052_002/cam_01_fr0021',
}
"""Frames StableMTL leaves out."""


def rays(height: int, width: int, matrix: np.ndarray | None = None) -> np.ndarray:
    """Viewing directions in camera axes (x right, y up, z back), float64 (3, H, W), of any length.

    Args:
        height, width: Pixels.
        matrix: ``M_cam_from_uv`` (3, 3) of the scene in ``metadata_camera_parameters.csv``, which holds the lens's
            shift and tilt; default: a camera without, as in the published preparation.
    """
    across, down = np.arange(width) + 0.5, np.arange(height)[:, None] + 0.5
    if matrix is None:
        focal = FOCAL * width / 1024
        x, y = (across - width / 2) / focal, (height / 2 - down) / focal
        return np.stack(np.broadcast_arrays(x, y, -np.ones((1, 1))))
    u, v = np.broadcast_arrays(2 * across / width - 1, 1 - 2 * down / height)
    return np.einsum('ij,jhw->ihw', matrix, np.stack([u, v, np.ones_like(u)]))


def plane_depth(distance: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """Distance from the camera's centre → distance along its axis, both (H, W) in metres."""
    return distance * -directions[2] / np.linalg.norm(directions, axis=0)


def frames_of_folders(root: Path) -> Iterator[tuple[str, str, int]]:
    """(scene, camera, frame) of every frame with a depth under ``root``."""
    for path in sorted(root.glob('ai_*/images/scene_*_geometry_hdf5/frame.*.depth_meters.hdf5')):
        camera = re.sub(r'^scene_|_geometry_hdf5$', '', path.parent.name)
        yield path.parts[-4], camera, int(path.name.split('.')[1])


def _rows(path: Path, expected: str) -> list[dict[str, str]]:
    return list(csv.DictReader(read_text(path, expected).splitlines()))


def frames_of_csv(path: Path, split: str) -> list[tuple[str, str, int]]:
    """Released frames of a split in ``metadata_images_split_scene_v1.csv``."""
    rows = _rows(path, 'metadata_images_split_scene_v1.csv')
    columns = {'scene_name', 'camera_name', 'frame_id', 'included_in_public_release', 'split_partition_name'}
    if not rows or not columns <= set(rows[0]):
        found = sorted(rows[0]) if rows else 'no rows'
        raise FileError(f'{path}: expected the columns {sorted(columns)}, found {found}')
    return [
        (row['scene_name'], row['camera_name'], int(row['frame_id']))
        for row in rows
        if row['included_in_public_release'] == 'True' and row['split_partition_name'] == split
    ]


def _camera_matrices(path: Path) -> dict[str, np.ndarray]:
    return {
        row['scene_name']: np.array([[float(row[f'M_cam_from_uv_{i}{j}']) for j in range(3)] for i in range(3)])
        for row in _rows(path, 'metadata_camera_parameters.csv')
        if row.get('M_cam_from_uv_00')
    }


def _facing_normals(normals: np.ndarray, directions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unit normals (3, H, W) turned towards the camera, and where there is a direction (H, W)."""
    length = np.linalg.norm(normals, axis=0)
    with np.errstate(invalid='ignore', divide='ignore'):
        known = np.isfinite(length) & (length > 1e-6)
        unit = np.where(known, normals / length, 0)
    away = (unit * directions).sum(0) > 0
    return np.where(away, -unit, unit).astype(np.float32), known


def _frame(outputs: dict[str, Path], scene: str, camera: str, frame: int, matrix: np.ndarray | None) -> None:
    def read(kind: str, name: str) -> np.ndarray:
        return read_hdf5(Path(scene, 'images', f'scene_{camera}_{kind}_hdf5', f'frame.{frame:04d}.{name}.hdf5'))

    seen = read('geometry', 'render_entity_id') != -1
    if not seen.any():
        return
    color, reflectance = read('final', 'color'), read('final', 'diffuse_reflectance')
    directions = rays(seen.shape[0], seen.shape[1], matrix)
    scale = tone_scale(color, seen)
    depth = np.where(seen, plane_depth(read('geometry', 'depth_meters'), directions), 0)
    normals, known = _facing_normals(read('geometry', 'normal_cam').transpose(2, 0, 1), directions)
    known &= seen & np.isfinite(read('geometry', 'position')).all(-1)
    left = normals * np.array([-1, 1, 1], np.float32)[:, None, None]
    millimetres = np.nan_to_num(depth * 1000, nan=0, posinf=0).clip(0, 65535)
    write_png(outputs['depth'], millimetres.astype(np.uint16))
    write_npy(outputs['normals'], np.ascontiguousarray(np.where(known, left, 0).transpose(1, 2, 0)))
    write_npy(outputs['normals_known'], known)
    write_png(outputs['albedo'], to_bytes(scale * reflectance))
    write_png(outputs['shading'], to_bytes(color / (reflectance + 1e-6)))
    write_png(outputs['rgb'], to_bytes(tone_map(color, scale)))


def prepare_hypersim(
    source: str | Path,
    target: str | Path,
    split: str = 'train',
    split_csv: str | Path | None = None,
    camera_csv: str | Path | None = None,
    workers: int = 0,
    progress: bool = True,
) -> tuple[int, int]:
    """Frames of a split: ``source/ai_VVV_NNN/{images,_detail}`` → ``target/SPLIT/ai_VVV_NNN/*``.

    The photograph is tone-mapped so that the 90th percentile of its luminance becomes 0.8 (over pixels with an
    entity), gamma 2.2; albedo is the reflectance times the same factor, shading ``color / reflectance`` without it,
    both clipped to [0, 1]; depth lies along the optical axis, in millimetres, 0 where unknown; normals are in camera
    axes, x to the **left**, y up, z towards the viewer, turned towards the camera by the pixel's own ray.
    Frames without a single entity, and six with faults, are left out.

    Args:
        source: Folder of the scenes.
        target: Output folder.
        split: Split in ``split_csv``, and folder under ``target``.
        split_csv: ``metadata_images_split_scene_v1.csv``; default: every frame under ``source``.
        camera_csv: ``metadata_camera_parameters.csv``, for the depth of cameras with shifted or tilted lenses;
            default: one focal length for all, as in the published preparation.
        workers: Processes.
        progress: Show a progress bar.

    Returns:
        Frames made now and before.

    Raises:
        FileError: No frames, or some whose files are missing or damaged.
    """
    source, target = Path(source), Path(target)
    frames = list(frames_of_folders(source)) if split_csv is None else frames_of_csv(Path(split_csv), split)
    matrices = {} if camera_csv is None else _camera_matrices(Path(camera_csv))
    jobs = []
    for scene, camera, frame in frames:
        name = f'{camera}_fr{frame:04d}'
        if f'{scene}/{name}' in FILTERED:
            continue
        if camera_csv is not None and scene not in matrices:
            raise FileError(f"{camera_csv}: expected the camera of scene '{scene}', found none")
        outputs = {kind: target / split / scene / file for kind, file in hypersim_files(name).items()}
        jobs.append(
            Job(
                f'{scene}/{name}',
                outputs,
                dict(scene=str(source / scene), camera=camera, frame=frame, matrix=matrices.get(scene)),
            )
        )
    return convert(_frame, jobs, workers, progress, f'Hypersim {split}')
