"""Label maps that are slow to derive (parsed from MATLAB files, thinned, ...), kept on disk and verified by hash."""

from __future__ import annotations

import hashlib
import json
import math
import os
import warnings
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from mmmtl.errors import FileError
from mmmtl.utils.files import safe_name, write_atomically

from .guard import check_size
from .storage import read_bytes

MAGIC = b'mmmtl label cache 1\n'


class LabelCache:
    """Derived uint8 maps on disk.

    An entry says what it was made from: the recipe's name, a hash of the content of its source files, and a
    hash of its own payload. An entry of another recipe, of files that have changed, or damaged, counts as
    missing and is made again. Entries are written beside their place and renamed, so any number of processes
    may fill the same cache at once; they write the same bytes.

    Where the folder cannot be written (a read-only data set), maps are computed each time, after one warning.

    Args:
        folder: Folder of the cache, or None for no cache.
    """

    def __init__(self, folder: str | Path | None) -> None:
        self.folder = None if folder is None else Path(folder).expanduser()
        self.writable = self.folder is not None

    @classmethod
    def beside(cls, data_root: str | Path, cache_dir: str | None) -> LabelCache:
        """The cache of a data set.

        Args:
            data_root: Root of the data set.
            cache_dir: ``'auto'``: ``data_root/.mmmtl_cache``, or the user's cache folder (``XDG_CACHE_HOME``)
                where the data set is read-only; a path; or None for no cache.
        """
        if cache_dir != 'auto':
            return cls(cache_dir)
        data_root = Path(data_root).expanduser()
        beside = data_root / '.mmmtl_cache'
        if os.access(beside if beside.is_dir() else data_root, os.W_OK):
            return cls(beside)
        name = hashlib.sha256(str(data_root.resolve()).encode()).hexdigest()[:16]
        return cls(Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmmtl', name))

    def path(self, recipe: str, sample_id: str) -> Path | None:
        """File of an entry."""
        return None if self.folder is None else self.folder / recipe.split(' ')[0] / f'{safe_name(sample_id)}.map'

    def get(self, recipe: str, sample_id: str, sources: Sequence[str], compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The entry, from disk if it is there and right, else computed and stored.

        Args:
            recipe: Name and version of the computation; the first word names the folder.
            sample_id: Sample.
            sources: Files the map is made from.
            compute: Gives the uint8 map (H, W); called only on a miss.
        """
        path = self.path(recipe, sample_id)
        if path is None:
            return compute()
        made_of = _digest(recipe, sources)
        found = _read(path, made_of)
        if found is not None:
            return found
        label = np.ascontiguousarray(compute())
        if label.dtype != np.uint8:
            raise TypeError(f'label cache: {recipe} gave {label.dtype}, only uint8 maps are kept')
        if self.writable:
            try:
                write_atomically(path, _pack(label, made_of))
            except OSError as error:
                self.writable = False
                warnings.warn(
                    f'label cache {self.folder} cannot be written ({error}); derived labels are computed each time. '
                    f'Give the data set a cache_dir, or None to say so.'
                )
        return label


def _digest(recipe: str, sources: Sequence[str]) -> str:
    """Hash of the recipe and the content of the sources."""
    total = hashlib.blake2b(recipe.encode(), digest_size=16)
    for source in sources:
        try:
            content = read_bytes(source)
        except (OSError, FileError):
            content = b''  # a source that is missing is reported by the computation, with its name
        total.update(hashlib.blake2b(content, digest_size=16).digest())
    return total.hexdigest()


def _pack(label: np.ndarray, made_of: str) -> bytes:
    payload = zlib.compress(label.tobytes(), 1)
    own = hashlib.blake2b(payload, digest_size=16).hexdigest()
    head = json.dumps(dict(made_of=made_of, shape=label.shape, payload=own))
    return MAGIC + head.encode() + b'\n' + payload


def _read(path: Path, made_of: str) -> np.ndarray | None:
    """The map of an entry, or None if it is missing, made of something else, or damaged."""
    try:
        content = path.read_bytes()
    except OSError:
        return None
    if not content.startswith(MAGIC):
        return None
    line, _, payload = content[len(MAGIC) :].partition(b'\n')
    try:
        head = json.loads(line)
        if head['made_of'] != made_of or head['payload'] != hashlib.blake2b(payload, digest_size=16).hexdigest():
            return None
        size = math.prod(head['shape'])
        check_size(path, [size])
        return np.frombuffer(zlib.decompressobj().decompress(payload, size + 1), np.uint8).reshape(head['shape'])
    except (ValueError, KeyError, TypeError, RecursionError, zlib.error):
        return None
