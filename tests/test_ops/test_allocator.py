"""The memory of freed tensors: kept by a run on the CPU, given back within a measurement."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from mmmtl.ops import allocator

FAULTS = """
import resource, sys, torch
from mmmtl.ops.allocator import keep_freed_memory
torch.set_num_threads(1)
kept = keep_freed_memory() if sys.argv[1] == 'keep' else None
def work():
    return [torch.ones(2**22) for _ in range(8)]  # 16 MiB each
work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str, **env: str) -> tuple[str, int]:
    clean = {k: v for k, v in os.environ.items() if k not in allocator._BY_USER}
    done = subprocess.run(
        [sys.executable, '-c', FAULTS, how],
        capture_output=True,
        text=True,
        check=True,
        env=dict(clean, CUDA_VISIBLE_DEVICES='', **env),
    )
    said, number = done.stdout.split()
    return said, int(number)


@pytest.mark.skipif(allocator._libc() is None, reason='the C library is not glibc')
def test_a_run_gets_its_pages_once():
    (_, plain), (said, kept) = faults('plain'), faults('keep')
    assert said == 'True' and kept < plain / 10


@pytest.mark.skipif(allocator._libc() is None, reason='the C library is not glibc')
def test_settings_of_the_user_stand():
    assert faults('keep', MALLOC_TOP_PAD_='65536')[0] == 'False'


def test_nothing_is_done_to_another_c_library(monkeypatch):
    monkeypatch.setattr(allocator, '_libc', lambda: None)
    assert allocator.keep_freed_memory() is False
    with allocator.live_memory():
        pass
