"""Small file habits shared by the datasets: nothing is written half, nothing missing goes unnamed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomic(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file beside its place and rename it there: readers see the old file or the whole new one, never a part.

    Args:
        path: Destination; its folder is made if needed.
        write: Called with the open binary file.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f'.{path.name}.', suffix='.part', dir=path.parent)
    try:
        with os.fdopen(handle, 'wb') as file:
            write(file)
        # mkstemp makes private files; a shared data folder needs the ordinary rights
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(partial, 0o666 & ~mask)
        os.replace(partial, path)
    except BaseException:
        Path(partial).unlink(missing_ok=True)
        raise


def write_text_atomic(path: str | Path, text: str) -> None:
    """:func:`write_atomic` for text."""
    write_atomic(path, lambda file: file.write(text.encode()))


def read_id_list(path: str | Path) -> list[str]:
    """Sample ids of a split file: one a line; blank lines and trailing carriage returns are dropped.

    Raises:
        FileNotFoundError: No such file; lists the split files beside it.
        ValueError: An empty file or an id that occurs twice.
    """
    path = Path(path)
    if not path.is_file():
        beside = sorted(p.name for p in path.parent.glob('*.txt')) if path.parent.is_dir() else 'no such folder'
        raise FileNotFoundError(f'split file {path}: no such file (beside it: {beside})')
    ids = [line.strip() for line in path.read_text(encoding='utf-8-sig').splitlines() if line.strip()]
    if not ids:
        raise ValueError(f'split file {path}: no sample ids in it')
    if len(set(ids)) != len(ids):
        seen: set[str] = set()
        twice = next(i for i in ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise ValueError(f"split file {path}: sample id '{twice}' is listed twice")
    return ids
