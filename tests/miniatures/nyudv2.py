"""A miniature of NYUDv2 in the ATRC packing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .scenes import normals_picture, save_ids, save_picture, scene

CLASSES = np.array([1, 2, 22, 20, 7, 29, 40, 31], np.uint8)  # as stored: the class's place in the list, from 1


def write_nyudv2(root: str | Path, train: int = 5, val: int = 4, size: tuple[int, int] = (60, 80)) -> dict:
    """Write the miniature.

    Traps: unlabelled pixels (0 in the segmentation), holes in the depth (0), grey pixels without a direction
    in the normals, a photograph that is a JPEG, a depth array with a trailing axis, carriage returns in the
    split files.

    Returns:
        ``{sample id: dict(semseg, depth, normals, boundary, holes)}``: what a reader must find.
    """
    root = Path(root)
    truth = {}
    for split, count, first in (('train', train, 0), ('val', val, 500)):
        ids = [f'{first + k}' for k in range(count)]
        for k, sample_id in enumerate(ids):
            labels = scene(first + k, size)
            holes = np.zeros(size, bool)
            holes[10:16, 20 + k : 40] = True
            save_picture(root / 'images' / f'{sample_id}.{"jpg" if k == 1 else "png"}', labels['img'])
            stored = np.where(holes, 0, CLASSES[labels['semseg']]).astype(np.uint8)
            save_picture(root / 'segmentation' / f'{sample_id}.png', stored)
            depth = np.where(holes, 0, labels['depth'][0]).astype(np.float32)
            (root / 'depth').mkdir(exist_ok=True)
            np.save(root / 'depth' / f'{sample_id}.npy', depth[..., None] if k == 2 else depth)
            normals = normals_picture(labels['normals'])
            normals[holes] = 127
            save_picture(root / 'normals' / f'{sample_id}.png', normals)
            save_picture(root / 'edge' / f'{sample_id}.png', (labels['boundary'] * 255).astype(np.uint8))
            truth[sample_id] = dict(
                split=split,
                holes=holes,
                semseg=stored.astype(int) - 1,
                depth=depth,
                normals=labels['normals'],
                boundary=labels['boundary'],
            )
        save_ids(root / 'gt_sets' / f'{split}.txt', ids)
    return truth


def plant_nyudv2_faults(root: str | Path, ids: list[str]) -> dict[tuple[str, str], str]:
    """Damage one label of each kind in the samples ``ids`` (at least five).

    Returns:
        ``{(sample id, task or 'image'): words the report must contain}``.
    """
    root = Path(root)
    (root / 'images' / f'{ids[0]}.png').unlink()
    save_picture(root / 'segmentation' / f'{ids[1]}.png', np.full((60, 80), 41, np.uint8))
    np.save(root / 'depth' / f'{ids[2]}.npy', np.full((60, 80), -1, np.float32))
    np.save(root / 'depth' / f'{ids[3]}.npy', np.zeros((30, 80), np.float32))
    (root / 'normals' / f'{ids[3]}.png').write_bytes(b'')
    save_picture(root / 'edge' / f'{ids[4]}.png', np.zeros((61, 80), np.uint8))
    return {
        (ids[0], 'image'): 'no such file',
        (ids[1], 'semseg'): 'expects classes 0..39',
        (ids[2], 'depth'): 'expects values in [0, inf] m',
        (ids[3], 'depth'): 'expects the size of its image, 60x80',
        (ids[3], 'normals'): 'cannot be read',
        (ids[4], 'boundary'): 'found 61x80',
    }
