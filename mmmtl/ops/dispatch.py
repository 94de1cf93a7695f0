"""Which kernel serves which tensors: the one table of devices and precisions.

A kernel asks :func:`served` before it runs; where the answer is no, its plain PyTorch expression runs instead. The
environment variable ``MMMTL_OPS=plain`` (or :func:`plain_operations` in a program) answers no everywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest

_FLOATS = frozenset({torch.float64, torch.float32, torch.bfloat16, torch.float16})

KERNELS: dict[str, dict[str, frozenset[torch.dtype]]] = {
    'attention': {'cpu': frozenset({torch.bfloat16})},
    'matmul': {'cpu': frozenset({torch.float32})},
    'winograd': {'cpu': frozenset({torch.float32, torch.bfloat16})},
    'winograd_gradients': {'cpu': frozenset({torch.float32})},
    'group_norm': {'cpu': frozenset({torch.float32})},
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
"""``{kernel: {type of device, or 'any': precisions}}``: where a kernel is faster than PyTorch's own operations."""
_TRACEABLE = frozenset(KERNELS) - {
    'attention',
    'matmul',
    'winograd',
    'winograd_gradients',
    'group_norm',
    'bands',
    'residual_branch',
}
"""Rearrangements of PyTorch's own operations, which graphs of ``torch.compile`` and subclasses of tensors may hold."""

VARIABLE, CHOICES = 'MMMTL_OPS', ('fast', 'plain')
_at_start = os.environ.get(VARIABLE)
_forced_plain = 0


def plain_everywhere() -> bool:
    """Whether all kernels are switched off.

    Raises:
        ConfigError: ``MMMTL_OPS`` holds another word.
    """
    # a traced graph cannot hang on the environment
    value = (_at_start if torch.compiler.is_compiling() else os.environ.get(VARIABLE)) or 'fast'
    if value not in CHOICES:
        raise ConfigError(f"{VARIABLE} must be one of {CHOICES}, got '{value}'.{suggest(value, CHOICES)}")
    return _forced_plain > 0 or value == 'plain'


@contextmanager
def plain_operations() -> Iterator[None]:
    """Within it, every operation of this room is its plain PyTorch expression."""
    global _forced_plain
    _forced_plain += 1
    try:
        yield
    finally:
        _forced_plain -= 1


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
    places = KERNELS[kernel]
    if kernel in _TRACEABLE:
        return 'any' in places or x.device.type in places
    if torch.compiler.is_compiling() or type(x) not in (Tensor, nn.Parameter):
        return False
    return precision(x) in places.get(x.device.type, places.get('any', frozenset()))


def predicting() -> bool:
    """Whether no gradient is recorded and no graph is traced, so that maps may be overwritten."""
    return not torch.is_grad_enabled() and not torch.compiler.is_compiling() and not plain_everywhere()
