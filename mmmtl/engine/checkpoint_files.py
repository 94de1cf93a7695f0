"""Checkpoint files that are whole or absent: written beside and renamed, verified before they are trusted."""

from __future__ import annotations

import os
import re
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer

from mmmtl.utils.files import PARTIAL, write_atomically
from mmmtl.utils.tensor_files import takes_digest, with_digest

_PLAIN = (bool, int, float, complex, str, bytes, torch.Tensor, torch.dtype, torch.device, torch.Size, HistoryBuffer)


def remove_partial(folder: str | os.PathLike) -> list[str]:
    """Remove what an interrupted :func:`~mmmtl.utils.files.write_atomically` left in ``folder``; return the names."""
    left = sorted(Path(folder).glob(f'.*{PARTIAL}'))
    for path in left:
        path.unlink(missing_ok=True)
    return [path.name for path in left]


class AtomicLocalBackend(LocalBackend):
    """mmengine's file backend for local disks, writing whole files or none."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; see :func:`~mmmtl.utils.files.write_atomically`."""
        write_atomically(filepath, with_digest(obj) if takes_digest(obj) else obj, durable=True)

    def put_text(self, obj: str, filepath: str | Path, encoding: str = 'utf-8') -> None:
        """Write text; see :func:`~mmmtl.utils.files.write_atomically`."""
        write_atomically(filepath, obj.encode(encoding), durable=True)


register_backend('AtomicLocalBackend', AtomicLocalBackend, force=True)


def damage(path: str | os.PathLike) -> str | None:
    """Say what is wrong with a checkpoint file, or None where every byte checks out.

    torch writes checkpoints as zip archives with a checksum for each member, so truncation and flipped bits show.
    """
    path = Path(path)
    if not path.is_file():
        return 'there is no such file'
    if path.stat().st_size == 0:
        return 'the file is empty'
    try:
        with zipfile.ZipFile(path) as archive:
            broken = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError) as error:
        return f'the file is truncated or not a checkpoint ({error})'
    return None if broken is None else f'its part {broken!r} does not match its checksum'


def newest_first(folder: str | os.PathLike, template: str = 'iter_{}.pth', before: str = '') -> list[Path]:
    """List the checkpoints of a run, the latest step first.

    Args:
        folder: Where they are.
        template: Their name, with ``{}`` for the step.
        before: Name of a checkpoint; only those of earlier steps are listed. Later ones are of another run.
    """
    pattern = re.compile(re.escape(template).replace(r'\{\}', r'(\d+)'))
    limit = pattern.fullmatch(before)
    found = [(int(match.group(1)), path) for path in Path(folder).glob('*') if (match := pattern.fullmatch(path.name))]
    return [path for step, path in sorted(found, reverse=True) if limit is None or step < int(limit.group(1))]


def plain(value: Any) -> Any:
    """Replace what a checkpoint cannot hold safely (an object of any class) by the name of its class.

    Tensors, arrays, numbers, strings, None, log histories and containers of them stay as they are, so that a file
    written with the result loads with ``weights_only=True``.
    """
    if value is None or isinstance(value, _PLAIN):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in 'biufcUS':
        return value
    if isinstance(value, Mapping):
        items = {
            key if isinstance(key, (str, int, float, tuple)) else str(key): plain(item) for key, item in value.items()
        }
        return OrderedDict(items) if isinstance(value, OrderedDict) else items
    if isinstance(value, (list, tuple, set, frozenset)):
        kind = type(value) if type(value) in (list, tuple, set) else list
        return kind(plain(item) for item in value)
    return f'{type(value).__module__}.{type(value).__qualname__}'
