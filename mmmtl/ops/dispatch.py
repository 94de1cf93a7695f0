"""Which kernel serves which tensors: the one table of devices, processors and precisions.

A kernel asks :func:`served` before it runs; where the answer is no, its plain PyTorch expression runs instead. The
environment variable ``MMMTL_OPS`` overrides the table: ``plain`` (or :func:`plain_operations` in a program) answers no
everywhere; the path of a JSON file, such as the one that ``benchmarks/gpu.py`` measures and writes, replaces the entries
it names.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.utils.files import read_json

_FLOATS = frozenset({torch.float64, torch.float32, torch.bfloat16, torch.float16})
Table: TypeAlias = Mapping[str, Mapping[str, frozenset[torch.dtype]]]


def processor() -> frozenset[str]:
    """Words that tell what this machine's processor is: its maker and, on Linux, its instructions."""
    path = Path('/proc/cpuinfo')
    first = path.read_text().partition('\n\n')[0] if path.is_file() else platform.processor()
    return frozenset(first.replace(',', ' ').split())


def mkl_reaches_peak(words: Collection[str]) -> bool:
    """Whether PyTorch's own products of float32 matrices are as fast as such a processor can be."""
    return 'GenuineIntel' in words and torch.backends.mkl.is_available()


def kernels_of(words: Collection[str]) -> Table:
    """The table for a machine with such a :func:`processor`."""
    # instructions for tiles multiply bfloat16 so fast that nothing is saved by multiplying less
    bfloat16 = frozenset() if 'amx_bf16' in words else frozenset({torch.bfloat16})
    float32 = frozenset({torch.float32})
    return {
        'attention': {'cpu': bfloat16},
        'matmul': {'cpu': frozenset() if mkl_reaches_peak(words) else float32},
        'winograd': {'cpu': float32 | bfloat16},
        'winograd_gradients': {'cpu': float32},
        'prepared_weights': {'cpu': frozenset({torch.bfloat16, torch.float16})},
        'group_norm': {'cpu': float32},
        'bands': {'cpu': _FLOATS},
        'mixing': {'cpu': _FLOATS},
        'residual_branch': {'any': _FLOATS},
        'conv1x1': {'any': _FLOATS},
        'merged_convolution': {'any': _FLOATS},
        'upsampled_convolution': {'any': _FLOATS},
        'residual_head': {'any': _FLOATS},
        'low_rank': {'any': _FLOATS},
        'norm_act': {'any': _FLOATS},
    }


PROCESSOR = processor()
KERNELS = kernels_of(PROCESSOR)
"""``{kernel: {type of device, or 'any' other: precisions}}``: where a kernel is faster than PyTorch's own operations."""
CPU_ALONE = frozenset({'matmul', 'prepared_weights'})
"""Kernels that call a library for processors, or look at values, which another device would have to be waited for."""
_TRACEABLE = frozenset(KERNELS) - {
    'attention',
    'matmul',
    'winograd',
    'winograd_gradients',
    'prepared_weights',
    'group_norm',
    'bands',
    'residual_branch',
}
"""Rearrangements of PyTorch's own operations, which graphs of ``torch.compile`` and subclasses of tensors may hold."""

VARIABLE, CHOICES = 'MMMTL_OPS', ('fast', 'plain')
_at_start = os.environ.get(VARIABLE)
_forced_plain = 0
_forced_traceable = 0
_forced_kernels: frozenset[str] = frozenset()


def _setting() -> str:
    # a traced graph cannot hang on the environment
    return (_at_start if torch.compiler.is_compiling() else os.environ.get(VARIABLE)) or 'fast'


def plain_everywhere() -> bool:
    """Whether all kernels are switched off.

    Raises:
        ConfigError: ``MMMTL_OPS`` holds another word, or a file that is no table.
    """
    value = _setting()
    _table(value)
    return _forced_plain > 0 or value == 'plain'


_tables: dict[str, Table] = dict.fromkeys(CHOICES, KERNELS)


def _table(value: str) -> Table:
    """The table that a value of ``MMMTL_OPS`` asks for."""
    if value not in _tables:
        if not value.endswith('.json'):
            raise ConfigError(
                f"{VARIABLE} must be one of {CHOICES} or the path of a table (.json), got '{value}'."
                f'{suggest(value, CHOICES)}'
            )
        _tables[value] = overridden(read_json(value, 'a table {kernel: {device: [precisions]}}'), value)
    return _tables[value]


def overridden(entries: Any, where: str) -> Table:
    """:data:`KERNELS` with the entries of ``{kernel: {type of device: [names of precisions]}}`` in place of its own.

    Raises:
        ConfigError: An entry that is not of this form; names it and ``where`` it stands.
    """
    form = f"{where}: expected {{kernel: {{device: ['float32', ...]}}}}"
    if not isinstance(entries, Mapping) or not all(isinstance(places, Mapping) for places in entries.values()):
        raise ConfigError(f'{form}, found {entries!r:.80}')
    names = {str(dtype).removeprefix('torch.'): dtype for dtype in _FLOATS}
    table = {kernel: dict(places) for kernel, places in KERNELS.items()}
    for kernel, places in entries.items():
        if kernel not in KERNELS:
            raise ConfigError(f"{where}: there is no kernel '{kernel}'.{suggest(kernel, KERNELS)}")
        for device, precisions in places.items():
            if not isinstance(precisions, list) or (wrong := [p for p in precisions if p not in names]):
                found = f', found {wrong if isinstance(precisions, list) else precisions!r} for {kernel}, {device}'
                raise ConfigError(f'{form} of {sorted(names)}{found}')
            if kernel in CPU_ALONE and device != 'cpu' and precisions:
                raise ConfigError(f"{where}: kernel '{kernel}' runs on 'cpu' alone, not on '{device}'")
            table[kernel][device] = frozenset(names[p] for p in precisions)
    return table


@contextmanager
def plain_operations() -> Iterator[None]:
    """Within it, every operation of this room is its plain PyTorch expression."""
    global _forced_plain
    _forced_plain += 1
    try:
        yield
    finally:
        _forced_plain -= 1


@contextmanager
def traceable_operations() -> Iterator[None]:
    """Within it, only rearrangements of PyTorch's own operations serve, and no kernel of a processor: for counting."""
    global _forced_traceable
    _forced_traceable += 1
    try:
        yield
    finally:
        _forced_traceable -= 1


@contextmanager
def forced_operations(kernels: Collection[str]) -> Iterator[None]:
    """Within it, these kernels serve every device and precision, whatever the table says: for measuring them."""
    global _forced_kernels
    before, _forced_kernels = _forced_kernels, frozenset(kernels)
    try:
        yield
    finally:
        _forced_kernels = before


def precision(x: Tensor) -> torch.dtype:
    """The type in which a product of ``x`` is computed: autocast's, or its own."""
    known = torch.amp.is_autocast_available(x.device.type)
    if known and torch.is_autocast_enabled(x.device.type) and x.dtype in (torch.float32, torch.float16, torch.bfloat16):
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype


def served(kernel: str, x: Tensor) -> bool:
    """Whether ``kernel`` computes with ``x`` here: its device and precision are in the table, and nothing is traced that it
    would not survive."""
    if plain_everywhere():
        return False
    places = _table(_setting())[kernel]
    precisions = _FLOATS if kernel in _forced_kernels else places.get(x.device.type, places.get('any', frozenset()))
    if kernel in _TRACEABLE:
        return bool(precisions) and (precisions == _FLOATS or precision(x) in precisions)
    if _forced_traceable or torch.compiler.is_compiling() or type(x) not in (Tensor, nn.Parameter):
        return False
    return precision(x) in precisions


def predicting() -> bool:
    """Whether no gradient is recorded and no graph is traced, so that maps may be overwritten."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling() and not plain_everywhere()
