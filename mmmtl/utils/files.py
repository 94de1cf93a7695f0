"""Files that are whole or absent: everything is written beside its place and renamed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import cv2
import numpy as np

from mmmtl.errors import FileError, StorageError

PARTIAL = '.part'
"""Ending of the files that are being written; their names begin with a dot."""
Content = bytes | str | Sequence[bytes | memoryview] | Callable[[BinaryIO], object]
MAX_BYTES = int(float(os.environ.get('MMMTL_MAX_GIB', 4)) * 2**30)
"""What a file may unpack to; raised by the environment variable MMMTL_MAX_GIB."""
MAX_TEXT_BYTES = MAX_BYTES // 8
LIMIT_HINT = f'at most {MAX_BYTES / 2**30:g} GiB (an eighth of it for text) are read; set MMMTL_MAX_GIB to raise that'


def write_atomically(path: str | os.PathLike, content: Content, durable: bool = False) -> str:
    """Write a file so that at any moment ``path`` is either the old file or the whole new one.

    The content goes to a file of a unique hidden name in the same folder, which is renamed when all is written. Folders
    are made as needed. The file has the rights of the one it replaces, a new one those of any new file. Where ``path``
    is a link, the file it points to is replaced.

    Args:
        path: Destination.
        content: Bytes, text (written as UTF-8; bytes of a name that were none are written as ``\\udcff``), pieces of
            bytes, or a function that is called with the open binary file.
        durable: Wait until the file and its folder have reached the disk, so that it also outlives a power cut.

    Returns:
        ``path`` as text.

    Raises:
        StorageError: The file cannot be written; the message names it and the room on the disk. Whatever fails, ``path``
            stays as it was and nothing else is left behind.
    """
    place = Path(os.path.realpath(path))
    partial = place.with_name(f'.{place.name[:40]}.{secrets.token_hex(6)}{PARTIAL}')
    pieces: Sequence[bytes | memoryview] = ()
    if not callable(content):
        pieces = (
            [content.encode('utf-8', 'backslashreplace')]
            if isinstance(content, str)
            else [content]
            if isinstance(content, bytes)
            else content
        )
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, 'xb') as file:
            if callable(content):
                content(file)
            else:
                file.writelines(pieces)
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
        raise _cannot_write(place, path, sum(map(len, pieces)), error) from error
    if durable and os.name == 'posix':
        folder = os.open(place.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return str(path)


def _cannot_write(place: Path, path: str | os.PathLike, size: int, error: OSError) -> StorageError:
    needed = f' ({size / 2**20:.1f} MiB)' if size else ''
    free = ''
    with contextlib.suppress(OSError):
        free = f' On that disk {shutil.disk_usage(place.parent).free / 2**20:.1f} MiB are free.'
    return StorageError(
        error.errno or 0,
        f'cannot write {path}{needed}: {error.strerror or error}. The previous file is untouched.{free}',
    )


def check_archive(path: str | os.PathLike) -> None:
    """Look at what a zip archive (``.npz``) says it unpacks to, before it is unpacked.

    Raises:
        FileError: More than :data:`MAX_BYTES`.
    """
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MAX_BYTES:
        raise FileError(f'{path}: unpacks to {size / 2**30:.1f} GiB; {LIMIT_HINT}')


def read_json(path: str | os.PathLike, expected: str = 'JSON') -> Any:
    """Read a JSON file.

    Args:
        path: The file.
        expected: What it should be, for the error.

    Raises:
        FileError: A missing file, one that is not JSON or says something twice, or one that is larger than
            :data:`MAX_TEXT_BYTES`.
    """
    try:
        return json.loads(read_text(path, expected), object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(f'{path}: expected {expected}, found something that is no JSON: {error}') from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'{next(name for name in names if names.count(name) > 1)!r} occurs twice in it')
    return found


def read_text(path: str | os.PathLike, expected: str = 'text') -> str:
    """Read a text file in UTF-8, with or without a byte order mark.

    Raises:
        FileError: A missing file, one that is not UTF-8, or one that is larger than :data:`MAX_TEXT_BYTES`.
    """
    try:
        size = os.path.getsize(path)
        if size > MAX_TEXT_BYTES:
            raise FileError(f'{path}: {size / 2**20:.0f} MiB of text; {LIMIT_HINT}')
        return Path(path).read_text(encoding='utf-8-sig')
    except OSError as error:
        raise FileError(f'{path}: expected {expected}, found no readable file: {error.strerror or error}') from error
    except UnicodeDecodeError as error:
        raise FileError(f'{path}: expected {expected}, found bytes that are not UTF-8: {error}') from error


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
    """``sample_id`` as a file name: separators and other special characters percent-encoded, so that no two collide.

    A leading dot is encoded too: no name hides its file or leads out of its folder. A name beyond 180 bytes, which a file
    system may refuse, keeps its beginning and ends in a hash.
    """
    data = str(sample_id).encode('utf-8', 'surrogatepass')  # file names need not be UTF-8
    name = quote(data, safe=" ()[]+,=@!'&;#$")
    name = '%2E' + name[1:] if name.startswith('.') else name or '%'
    if len(name) > 180:
        name = name[:150] + '~' + hashlib.blake2b(name.encode(), digest_size=12).hexdigest()
    return name
