"""A miniature of the FlyingThings3D subset as it is downloaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .scenes import save_picture
from .streets import pair


def save_pfm(path: Path, array: np.ndarray) -> None:
    """A grey portable float map, little-endian, from the lowest row up."""
    path.parent.mkdir(parents=True, exist_ok=True)
    head = f'Pf\n{array.shape[1]} {array.shape[0]}\n-1.0\n'.encode()
    path.write_bytes(head + np.ascontiguousarray(array[::-1], '<f4').tobytes())


def save_flo(path: Path, flow: np.ndarray) -> None:
    """A Middlebury flow file of (H, W, 2)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b'PIEH' + np.array(flow.shape[1::-1], '<i4').tobytes() + flow.astype('<f4').tobytes())


def write_flyingthings3d(root: Path, size: tuple[int, int] = (40, 64)) -> tuple[dict, tuple[float, float, float]]:
    """A pair in ``train`` and one in ``val``; disparities are negative, as in the subset.

    Traps: flow beyond 500 pixels, unknown flow, points beyond 35 units.

    Returns:
        ``{sample id: scene with fast, unknown, far (H, W)}`` and the camera of both.
    """
    truth, camera = {}, None
    for split, number in (('train', 70), ('val', 70)):
        scene = pair(number, size)
        focal, cx, cy = (float(scene['intrinsics'][i]) for i in ((0, 0), (0, 2), (1, 2)))
        camera = focal, cx, cy
        depth = scene['depth'][0].copy()
        fast, unknown, far = (np.zeros(size, bool) for _ in range(3))
        fast[5, :9], unknown[8, :9], far[12, :9] = True, True, True
        depth[far] = 50
        after = depth + scene['scene_flow'][2]
        flow = scene['optical_flow'].transpose(1, 2, 0).copy()
        flow[fast], flow[unknown] = 600, 1e10
        folder = root / split
        for name, img in (('0000000', scene['img']), ('0000001', scene['img_next'])):
            save_picture(folder / 'image_clean' / 'left' / f'{name}.png', img)
            save_pfm(folder / 'disparity' / 'left' / f'{name}.pfm', -focal / depth)
        save_pfm(folder / 'disparity_change' / 'left' / 'into_future' / '0000000.pfm', -(focal / after - focal / depth))
        save_flo(folder / 'flow' / 'left' / 'into_future' / '0000000.flo', flow)
        truth[f'{split}/0000000'] = dict(scene, fast=fast, unknown=unknown, far=far)
    return truth, camera
