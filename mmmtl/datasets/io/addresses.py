"""How files are named: local paths, ``scheme://`` addresses, members of shards; and ranges of local files."""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from mmmtl.errors import FileError

_ADDRESS = re.compile(r'^((?:\w+::)*[a-zA-Z][\w+.-]+):/+')
_OPEN_SHARDS = 64


@dataclass(frozen=True)
class Member:
    """A file within a shard: the shard's address, the place of the first byte in it, the number of bytes, and its name."""

    shard: str
    offset: int
    size: int
    name: str = ''

    def __str__(self) -> str:
        return f'{self.shard}, member {self.name} at byte {self.offset}'


def address(path: str | Path) -> str:
    """A path as text; the slashes that ``Path`` takes from ``scheme://`` are put back, and ``file://`` is left out."""
    text = str(path)
    match = _ADDRESS.match(text)
    if match is None:
        return text
    rest = text[match.end() :]
    return f'/{rest}' if match[1] == 'file' else f'{match[1]}://{rest}'


def has_scheme(path: str | Path) -> bool:
    """Whether a path is an address other than a local one."""
    return _ADDRESS.match(address(path)) is not None


def join(root: str | Path, *parts: str) -> str:
    """A path below a root that may be remote."""
    return address(Path(root, *parts))


@dataclass
class _OpenFiles:
    """Shards that this process has open, the least recently used of which is closed first."""

    files: OrderedDict[str, BinaryIO] = field(default_factory=OrderedDict)

    def get(self, path: str) -> BinaryIO:
        file = self.files.pop(path, None) or open(path, 'rb')
        self.files[path] = file
        if len(self.files) > _OPEN_SHARDS:
            self.files.popitem(last=False)[1].close()
        return file


_shards = _OpenFiles()


def read_local(path: str, offset: int = 0, size: int | None = None) -> bytes:
    """The bytes of a local file, or a range of them, whose file stays open.

    Raises:
        FileError: The file ends within the range.
    """
    if size is None:
        return Path(path).read_bytes()
    data = os.pread(_shards.get(path).fileno(), size, offset)
    if len(data) != size:
        raise FileError(
            f'{path}: expected {size} bytes from byte {offset} on, found {len(data)}: the file is cut short'
        )
    return data
