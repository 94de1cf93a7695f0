"""Memory of tensors: what glibc's allocator does with that of freed ones, and modules that take none."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_SMALL, _LARGE, _ALL = 2**16, 2**25, 2**31 - 1  # glibc takes no larger threshold for mmap than _LARGE
_BY_USER = ('MALLOC_TRIM_THRESHOLD_', 'MALLOC_MMAP_THRESHOLD_', 'MALLOC_MMAP_MAX_', 'MALLOC_TOP_PAD_', 'GLIBC_TUNABLES')


def _libc() -> Any:
    """glibc, or None where the C library is another."""
    try:
        libc = ctypes.CDLL('libc.so.6')
        return libc if hasattr(libc, 'mallopt') and hasattr(libc, 'malloc_trim') else None
    except OSError:
        return None


def keep_freed_memory() -> bool:
    """Let this process keep the memory of freed tensors, where networks run on the CPU.

    glibc gives it back to the system whenever enough of it is free, and every iteration pays for getting it again, page
    by page: a tenth to a sixth of the training time of a small network. Tensors above 32 MiB are not concerned.
    A user's own ``MALLOC_*`` settings stand.

    Returns:
        Whether anything was set.
    """
    libc = _libc()
    if libc is None or torch.cuda.is_available() or any(name in os.environ for name in _BY_USER):
        return False
    return bool(libc.mallopt(_MMAP_THRESHOLD, _LARGE) and libc.mallopt(_TRIM_THRESHOLD, _ALL))


def give_back_freed_memory() -> None:
    """Return to the system what glibc keeps of freed memory, as after a picture that fills a gigabyte was decoded."""
    libc = _libc()
    if libc is not None:
        libc.malloc_trim(0)


@contextmanager
def live_memory() -> Iterator[None]:
    """Within it freed memory goes back to the system at once, so that what is resident is what is in use (glibc)."""
    libc = _libc()
    if libc is None:  # the figure includes what the C library keeps
        yield
        return
    libc.mallopt(_MMAP_THRESHOLD, _SMALL)
    libc.mallopt(_TRIM_THRESHOLD, _SMALL)
    libc.malloc_trim(0)
    try:
        yield
    finally:  # what glibc's own rule arrives at in a process that has used large tensors
        libc.mallopt(_MMAP_THRESHOLD, _LARGE)
        libc.mallopt(_TRIM_THRESHOLD, 2 * _LARGE)


def without_memory() -> AbstractContextManager:
    """Context in which modules are built of shapes alone: their weights are neither allocated nor drawn."""
    return torch.device('meta')
