"""Locks of folders between the processes of a machine."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let one process at a time work in a folder, which is made if need be; a lock ends with its holder.

    Without a lock goes on who has none: on a system without such locks, or in a folder that cannot be written.
    """
    try:
        import fcntl

        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / '.lock', 'ab')
    except (ImportError, OSError):
        yield
        return
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
