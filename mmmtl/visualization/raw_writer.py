"""Predictions as files, without loss: class maps as PNG, everything else as NPY."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping

import numpy as np

from mmmtl.utils.files import safe_name, write_npy, write_png


def write_raw(folder: str, sample_id: str, prediction: Mapping[str, np.ndarray]) -> list[str]:
    """Write one image's predictions to ``folder/TASK/SAMPLE_ID.png`` or ``.npy``.

    Integer maps (1, H, W) or (H, W) with values 0 to 65535 become greyscale PNG (8 bits where they suffice,
    else 16), everything else keeps dtype and shape as NPY.

    Args:
        folder: Where to write.
        sample_id: The sample's id; characters that a file name cannot hold are percent-encoded.
        prediction: Task → array.

    Returns:
        The paths, in the order of ``prediction``.
    """
    paths = []
    for task, values in prediction.items():
        values = np.asarray(values)
        stem = osp.join(folder, safe_name(task), safe_name(sample_id))
        if np.issubdtype(values.dtype, np.integer) and values.ndim - (values.shape[0] == 1) <= 2 and values.min() >= 0:
            high = int(values.max())
            if high <= 65535:
                plane = values.reshape(values.shape[-2:])
                paths.append(write_png(stem + '.png', plane.astype(np.uint8 if high < 256 else np.uint16)))
                continue
        paths.append(write_npy(stem + '.npy', values))
    return paths


def read_raw(path: str) -> np.ndarray:
    """Read what :func:`write_raw` wrote: int64 (1, H, W) from a PNG, the array as it was from an NPY."""
    if path.endswith('.npy'):
        return np.load(path, allow_pickle=False)
    import cv2

    plane = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if plane is None:
        raise FileNotFoundError(f'{path} cannot be read as an image')
    return plane.astype(np.int64)[None]
