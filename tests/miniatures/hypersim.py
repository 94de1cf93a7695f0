"""A miniature of Hypersim's raw HDF5 files."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .streets import pair

SIZE = (48, 64)


def save_hdf5(path: Path, array: np.ndarray) -> None:
    """An array as Hypersim stores them."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, 'w') as file:
        file['dataset'] = array


def write_hypersim(root: Path, frames: int = 2) -> dict[str, dict]:
    """``frames`` scenes with a frame each (every Diorama has its own lens) and the two CSV files.

    Traps: some normals point away from the camera, some are zero; a patch without an entity and one of positions
    without a number; black reflectance; a scene more whose frame sees nothing; a frame of
    the test split that is not there.

    Returns:
        ``{sample id: the scene with unseen, no_normal, dark (H, W)}``.
    """
    truth: dict[str, dict] = {}
    height, width = SIZE
    rows, cameras = [], []
    for k in range(frames + 1):
        scene = f'ai_001_{k + 1:03d}'
        labels = pair(60 + k, SIZE)
        focal = labels['intrinsics'][0, 0]
        x, y = np.meshgrid(np.arange(width) - (width - 1) / 2, np.arange(height) - (height - 1) / 2)
        unseen, no_normal, dark = (np.zeros(SIZE, bool) for _ in range(3))
        unseen[:4, :6] = no_normal[:4, :6] = True
        no_normal[10:12, :9] = True
        dark[20:23, 5:9] = True
        albedo = np.where(dark, [[[0.4]], [[0.0]], [[0.3]]], labels['albedo']).transpose(1, 2, 0)
        normals = labels['normals'].transpose(1, 2, 0).copy()
        normals[::3] *= -1
        normals[10, :9] = 0
        position = np.zeros((height, width, 3))
        position[11, :9] = np.nan
        entity = np.where(unseen | (k == frames), -1, 7)
        files = {
            'final': dict(color=albedo * labels['shading'].transpose(1, 2, 0), diffuse_reflectance=albedo),
            'geometry': dict(
                depth_meters=labels['depth'][0] * np.sqrt(x * x + y * y + focal**2) / focal,
                normal_cam=normals,
                position=position,
                render_entity_id=entity,
            ),
        }
        for kind, arrays in files.items():
            for name, array in arrays.items():
                stored = array.astype(np.int32 if name == 'render_entity_id' else np.float32)
                save_hdf5(root / scene / 'images' / f'scene_cam_00_{kind}_hdf5' / f'frame.{k:04d}.{name}.hdf5', stored)
        if k < frames:
            truth[f'{scene}/cam_00_fr{k:04d}'] = dict(labels, unseen=unseen, no_normal=no_normal, dark=dark)
        matrix = np.diag([width / 2 / focal, height / 2 / focal, -1.0])
        cameras.append(','.join([scene, *map(str, matrix.ravel())]))
        rows.append(f'{scene},cam_00,{k},True,,train')
    names = [f'M_cam_from_uv_{i}{j}' for i in range(3) for j in range(3)]
    (root / 'cameras.csv').write_text('\n'.join([','.join(['scene_name', *names]), *cameras]) + '\n')
    rows += ['ai_001_001,cam_00,98,False,bad,train', 'ai_001_001,cam_01,0,True,,test']
    head = 'scene_name,camera_name,frame_id,included_in_public_release,exclude_reason,split_partition_name'
    (root / 'splits.csv').write_text('\n'.join([head, *rows]) + '\n')
    return truth
