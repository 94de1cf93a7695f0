"""The memory of freed tensors: kept by a run on the CPU, given back within a measurement."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mmmtl.ops import allocator

BLOCK = """
import ctypes, sys
from mmmtl.ops.allocator import keep_freed_memory
libc = ctypes.CDLL('libc.so.6')
libc.malloc.restype = libc.sbrk.restype = ctypes.c_void_p
libc.malloc.argtypes, libc.free.argtypes, libc.sbrk.argtypes = [ctypes.c_size_t], [ctypes.c_void_p], [ctypes.c_long]
kept = keep_freed_memory() if sys.argv[1] == 'keep' else None
start = libc.sbrk(0)
block = libc.malloc(2**24)
full = libc.sbrk(0)
libc.free(block)
print(kept, (full - start) >> 20, (libc.sbrk(0) - start) >> 20)
"""


def heap(how: str, **env: str) -> tuple[str, int, int]:
    """What the call said, and by how many MiB the heap has grown with a block of 16 MiB and after it is freed."""
    clean = {k: v for k, v in os.environ.items() if k not in allocator._BY_USER}
    done = subprocess.run(
        [sys.executable, '-c', BLOCK, how],
        capture_output=True,
        text=True,
        check=True,
        env=dict(clean, CUDA_VISIBLE_DEVICES='', **env),
    )
    said, full, after = done.stdout.split()
    return said, int(full), int(after)


@pytest.mark.skipif(allocator._libc() is None, reason='the C library is not glibc')
def test_a_run_keeps_what_it_has_freed():
    """A block of memory is part of the heap and stays there, where it would come from the system and go back."""
    assert heap('plain') == ('None', 0, 0)
    said, full, after = heap('keep')
    assert said == 'True' and full == after >= 15


@pytest.mark.skipif(allocator._libc() is None, reason='the C library is not glibc')
def test_settings_of_the_user_stand():
    assert heap('keep', MALLOC_TOP_PAD_='65536')[0] == 'False'


def test_nothing_is_done_to_another_c_library(monkeypatch):
    monkeypatch.setattr(allocator, '_libc', lambda: None)
    assert allocator.keep_freed_memory() is False
    with allocator.live_memory():
        pass
