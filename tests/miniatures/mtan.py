"""Miniatures of NYUDv2 and Cityscapes in the MTAN packing."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from .scenes import scene


def write_mtan(root: str | Path, kind: str, train: int = 6, val: int = 3, size: tuple[int, int] = (48, 64)) -> dict:
    """Write ``SPLIT/{image,label,...}/NUMBER.npy``.

    Traps: -1 in the label, 0 in the depth, zero vectors, one label as floats, numbers beyond 9 (order of names).

    Args:
        root: Folder.
        kind: ``'nyud'`` or ``'cityscapes'``.
        train: Training samples.
        val: Validation samples.
        size: (height, width).

    Returns:
        ``{(split, number): dict(img, label, depth, normals, holes)}``: what a reader must find.
    """
    root, truth = Path(root), {}
    for split, count, first in (('train', train, 0), ('val', val, 100)):
        for k in range(count):
            labels = scene(first + k, size)
            holes = np.zeros(size, bool)
            holes[5:9, 10 : 20 + k] = True
            label = np.where(holes, -1, labels['semseg'] % 7)
            depth = labels['depth'][0] if kind == 'nyud' else 0.1 / labels['depth'][0]
            depth = np.where(holes, 0, depth).astype(np.float32)
            normals = np.where(holes, 0, labels['normals']).astype(np.float32)
            files = dict(image=labels['img'] / 255.0, depth=depth[..., None])
            if kind == 'nyud':
                files.update(label=label.astype(np.float32) if k == 1 else label, normal=normals.transpose(1, 2, 0))
            else:
                files.update(label_7=label, label_19=np.where(holes, -1, label * 2 + 5))
            for name, array in files.items():
                (root / split / name).mkdir(parents=True, exist_ok=True)
                np.save(root / split / name / f'{k}.npy', array)
            truth[split, str(k)] = dict(img=labels['img'], label=label, depth=depth, normals=normals, holes=holes)
    return truth
