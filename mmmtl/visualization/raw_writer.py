"""Predictions as files, without loss: class maps as PNG, everything else as NPY."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping

import numpy as np

from mmmtl.structures import with_axis, without_axis
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
    for task in prediction:
        stem = osp.join(folder, safe_name(task), safe_name(sample_id))
        paths.append(
            _write_map(stem, np.asarray(prediction[task]))
        )  # looked up one by one: each may be made large here
    return paths


def _write_map(stem: str, values: np.ndarray) -> str:
    plane = without_axis(values)
    if plane.ndim == 2 and plane.dtype.kind in 'iu' and plane.min() >= 0 and (high := int(plane.max())) <= 65535:
        return write_png(stem + '.png', plane.astype(np.uint8 if high < 256 else np.uint16, copy=False))
    return write_npy(stem + '.npy', values)


def read_raw(path: str) -> np.ndarray:
    """Read what :func:`write_raw` wrote: int64 (1, H, W) from a PNG, the array as it was from an NPY."""
    if path.endswith('.npy'):
        return np.load(path, allow_pickle=False)
    import cv2

    plane = cv2.imread(path, cv2.IMREAD_UNCHANGED)
    if plane is None:
        raise FileNotFoundError(f'{path} cannot be read as an image')
    return with_axis(plane.astype(np.int64))
