"""A folder of files fetched from elsewhere: of a limited size, shared by processes, whole whenever one of them is killed."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

from mmmtl.errors import ConfigError, StorageError
from mmmtl.utils.files import PARTIAL, write_atomically
from mmmtl.utils.locks import one_at_a_time

_UNITS = {'': 1, 'k': 10**3, 'm': 10**6, 'g': 10**9, 't': 10**12}
_ABANDONED = 600.0
"""Seconds after which a file that is still being written belongs to a process that was killed."""
_DIGEST = 16


def parse_size(size: int | float | str, where: str) -> int:
    """Bytes of a size: a number, or text such as ``1GB``, ``500MB``, ``2 GiB``.

    Raises:
        ConfigError: Anything else, or nothing.
    """
    match = re.fullmatch(r'\s*([0-9]*\.?[0-9]+)\s*([kmgt]?)(i?)b?\s*', str(size).lower())
    if isinstance(size, bool) or match is None:
        raise ConfigError(f"{where}: expected a size such as '10GB' or a number of bytes, found {size!r}")
    unit = _UNITS[match[2]] if not match[3] else 1024 ** 'kmgt'.find(match[2] or 'k') * 1024
    if (count := int(float(match[1]) * unit)) < 1:
        raise ConfigError(f'{where}: expected at least one byte, found {size!r}')
    return count


class FileCache:
    """Content by key, at most ``limit`` bytes of it; what was not used for longest leaves first.

    A file is written beside its place and renamed, and ends in a digest of its content: a damaged one counts as missing.
    Any number of processes may use the folder at once. What a killed process was writing is removed after ten minutes.

    Args:
        folder: The folder; made as needed.
        limit: Bytes.
    """

    def __init__(self, folder: str | Path, limit: int) -> None:
        self.folder, self.limit = Path(folder).expanduser(), int(limit)
        self._unseen: float = float('inf')  # bytes added since this process last looked at the whole folder

    def path(self, key: str) -> Path:
        """The file of a key."""
        name = hashlib.blake2b(key.encode(), digest_size=20).hexdigest()
        return self.folder / name[:2] / name[2:]

    def get(self, key: str) -> bytes | None:
        """The content, or None where it is missing or damaged."""
        place = self.path(key)
        try:
            stored = place.read_bytes()
            os.utime(place)  # the time of its last use
        except OSError:
            return None
        content, digest = stored[:-_DIGEST], stored[-_DIGEST:]
        return content if hashlib.blake2b(content, digest_size=_DIGEST).digest() == digest else None

    def put(self, key: str, content: bytes) -> None:
        """Keep content; more than the whole limit is not kept. A folder that cannot be written is no error."""
        size = len(content) + _DIGEST
        if size > self.limit:
            return
        with one_at_a_time(self.folder):
            if self._unseen + size > self.limit / 64:
                self._make_room(size)
            self._unseen += size
            with contextlib.suppress(StorageError):
                digest = hashlib.blake2b(content, digest_size=_DIGEST).digest()
                write_atomically(self.path(key), [content, digest])

    def size(self) -> int:
        """Bytes that are kept now, unfinished files included."""
        return sum(size for _, size, _ in self._files())

    def _make_room(self, size: int) -> None:
        """Remove what was not used for longest until ``size`` more bytes fit with some to spare."""
        found = sorted(self._files())
        total, now = sum(size for _, size, _ in found), time.time()
        for used, length, place in found:
            if place.name.endswith(PARTIAL):
                if now - used < _ABANDONED:
                    continue
            elif total + size <= self.limit - self.limit // 16:
                continue
            with contextlib.suppress(OSError):
                place.unlink()
                total -= length
        # several processes add between two looks of one: each only this share of what is spared here
        self._unseen = 0.0 if total + size <= self.limit - self.limit // 16 else float('inf')

    def _files(self) -> Iterator[tuple[float, int, Path]]:
        """(time of last use, bytes, path) of every file."""
        for folder in self.folder.glob('??'):
            for place in folder.iterdir() if folder.is_dir() else ():
                with contextlib.suppress(OSError):
                    state = place.stat()
                    yield state.st_mtime, state.st_size, place
