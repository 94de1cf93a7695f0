"""Files that are whole or absent: everything is written beside its place and renamed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

import cv2
import numpy as np

PARTIAL = '.part'
"""Ending of the files that are being written; their names begin with a dot."""
Content = bytes | str | Callable[[BinaryIO], object]


def write_atomically(path: str | os.PathLike, content: Content, durable: bool = False) -> str:
    """Write a file so that at any moment ``path`` is either the old file or the whole new one.

    The content goes to a file of a unique hidden name in the same folder, which is renamed when all is written. Folders
    are made as needed. The file has the rights of the one it replaces, a new one those of any new file. Where ``path``
    is a link, the file it points to is replaced.

    Args:
        path: Destination.
        content: Bytes, text (written as UTF-8), or a function that is called with the open binary file.
        durable: Wait until the file and its folder have reached the disk, so that it also outlives a power cut.

    Returns:
        ``path`` as text.

    Raises:
        OSError: The file cannot be written; the message names it. Whatever fails, ``path`` stays as it was and nothing
            else is left behind.
    """
    place = Path(os.path.realpath(path))
    partial = place.with_name(f'.{place.name[:40]}.{secrets.token_hex(6)}{PARTIAL}')
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, 'xb') as file:
            if callable(content):
                content(file)
            else:
                file.write(content.encode() if isinstance(content, str) else content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        with contextlib.suppress(FileNotFoundError):
            partial.chmod(place.stat().st_mode & 0o7777)
        os.replace(partial, place)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if not isinstance(error, OSError):
            raise
        size = f' ({len(content) / 2**20:.1f} MiB)' if isinstance(content, bytes) else ''
        reason = f'cannot write {path}{size}: {error.strerror or error}. The previous file is untouched.'
        raise (OSError(error.errno, reason) if error.errno else OSError(reason)) from error
    if durable and os.name == 'posix':
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return str(path)


def write_json(path: str | os.PathLike, value: object, indent: int | None = 2) -> str:
    """Write ``value`` as JSON; floats keep every digit. Returns ``path``."""
    return write_atomically(path, json.dumps(value, indent=indent, allow_nan=True) + '\n')


def write_npy(path: str | os.PathLike, array: np.ndarray) -> str:
    """Write ``array`` as ``.npy``. Returns ``path``."""
    return write_atomically(path, lambda file: np.save(file, array, allow_pickle=False))


def write_png(path: str | os.PathLike, image: np.ndarray) -> str:
    """Write uint8 RGB (H, W, 3), or uint8/uint16 (H, W), as PNG. Returns ``path``."""
    done, data = cv2.imencode('.png', image[..., ::-1] if image.ndim == 3 else image)
    if not done:
        raise ValueError(f'{path}: an array of {image.dtype} {image.shape} cannot be written as PNG')
    return write_atomically(path, data.tobytes())


def safe_name(sample_id: str) -> str:
    """``sample_id`` as a file name: separators and other special characters percent-encoded, so that no two collide."""
    return quote(str(sample_id), safe=" ()[]+,=@!'&;#$")
