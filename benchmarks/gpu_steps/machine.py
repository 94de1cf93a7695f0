"""The device, and what it reaches at best."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from mmmtl.analysis.benchmark import matmul_peak
from mmmtl.version import __version__

from .rows import Rows, Setting, seconds_of

PRECISIONS = {'float32': torch.float32, 'tf32': torch.float32, 'bfloat16': torch.bfloat16}


@contextmanager
def tensor_float_32(on: bool) -> Iterator[None]:
    """Products of single precision by TF32 or without, in convolutions too."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn)
    before = [place.allow_tf32 for place in places]
    for place in places:
        place.allow_tf32 = on
    try:
        yield
    finally:
        for place, value in zip(places, before):
            place.allow_tf32 = value


def peaks(setting: Setting, size: int) -> dict[str, float]:
    """FLOP/s of matrix products by precision."""
    found = {}
    for name, dtype in PRECISIONS.items():
        with tensor_float_32(name == 'tf32'):
            found[name] = matmul_peak(setting.device, dtype, size)
    return found


def measure(setting: Setting, rows: Rows) -> None:
    """Versions, peaks, bandwidth."""
    cuda = setting.kind == 'cuda'
    rows.add(
        device=torch.cuda.get_device_name(setting.device) if cuda else platform.processor() or platform.machine(),
        memory_gib=torch.cuda.get_device_properties(setting.device).total_memory / 2**30 if cuda else None,
        torch=torch.__version__,
        cuda=torch.version.cuda,
        mmmtl=__version__,
    )
    for name, value in peaks(setting, 512 if setting.tiny else 8192).items():
        rows.add(product=name, tflops=value / 1e12)
    block = torch.empty((2**20 if setting.tiny else 2**28) // 4, device=setting.device)
    (seconds,) = seconds_of([block.clone], setting.device)
    rows.add(copy_gb_s=2 * block.numel() * 4 / seconds / 1e9)
