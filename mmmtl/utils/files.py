"""Files that are never half written: everything is written beside its place and renamed."""

from __future__ import annotations

import json
import os
import os.path as osp
import tempfile
from collections.abc import Callable
from typing import BinaryIO
from urllib.parse import quote

import cv2
import numpy as np


def write_atomically(path: str, write: Callable[[BinaryIO], object]) -> str:
    """Call ``write(file)`` on a temporary file beside ``path`` and move it there when all is written.

    Folders are made as needed. If ``write`` fails, neither ``path`` nor the temporary file is left behind
    changed.

    Returns:
        ``path``.
    """
    folder = osp.dirname(osp.abspath(path))
    os.makedirs(folder, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=folder, prefix='.' + osp.basename(path)[:60], suffix='.part')
    try:
        with os.fdopen(handle, 'wb') as file:
            write(file)
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def _umask() -> int:
    """The process's umask; ``mkstemp`` makes private files, results are not private."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def write_json(path: str, value: object) -> str:
    """Write ``value`` as indented JSON; floats keep every digit. Returns ``path``."""
    text = json.dumps(value, indent=2, allow_nan=True) + '\n'
    return write_atomically(path, lambda file: file.write(text.encode()))


def write_npy(path: str, array: np.ndarray) -> str:
    """Write ``array`` as ``.npy``. Returns ``path``."""
    return write_atomically(path, lambda file: np.save(file, array, allow_pickle=False))


def write_png(path: str, image: np.ndarray) -> str:
    """Write uint8 RGB (H, W, 3), or uint8/uint16 (H, W), as PNG. Returns ``path``."""
    done, data = cv2.imencode('.png', image[..., ::-1] if image.ndim == 3 else image)
    if not done:
        raise ValueError(f'{path}: an array of {image.dtype} {image.shape} cannot be written as PNG')
    return write_atomically(path, lambda file: file.write(data.tobytes()))


def safe_name(sample_id: str) -> str:
    """``sample_id`` as a file name: separators and other special characters percent-encoded, so that no two collide."""
    return quote(str(sample_id), safe=" ()[]+,=@!'&;#$")
