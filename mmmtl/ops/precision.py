"""Precision of single computations, whatever autocast does around them."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest

DTYPES = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
"""Precisions of prediction by name."""


def to_float32(x: Tensor) -> Tensor:
    """The tensor in float32, or as it is where it is more precise."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def without_autocast(like: Tensor) -> AbstractContextManager:
    """Context in which tensors on ``like``'s device are computed with in their own precision."""
    return torch.autocast(like.device.type, enabled=False)


def check_dtype(name: str) -> str:
    """The name, if it is one of :data:`DTYPES`.

    Raises:
        ConfigError: It is none.
    """
    if name not in DTYPES:
        raise ConfigError(f"dtype must be one of {', '.join(DTYPES)}, got '{name}'.{suggest(str(name), DTYPES)}")
    return name


def in_dtype(like: Tensor, name: str) -> AbstractContextManager:
    """Context in which convolutions and matrix products on ``like``'s device are computed in a precision of :data:`DTYPES`."""
    return nullcontext() if name == 'fp32' else torch.autocast(like.device.type, DTYPES[name])


def store_in_dtype(model: nn.Module, name: str) -> None:
    """Keep the weights of convolutions and linear layers in half the memory, in place.

    Under :func:`in_dtype` of the same name they are rounded like this anyway when they are used; where others are derived
    from them, these are rounded twice. All other parameters (norms, embeddings) stay as they are.
    """
    if name == 'fp32':
        return
    for module in model.modules():
        if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            for parameter in module.parameters(recurse=False):
                parameter.data = parameter.data.to(DTYPES[name])


def bfloat16_is_faster(device: str | torch.device = 'cpu') -> bool:
    """Whether a device has instructions for products of bfloat16: AMX or AVX-512 on a CPU, any recent GPU."""
    kind = torch.device(device).type
    if kind == 'cuda':
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if kind != 'cpu':
        return False
    asked = (getattr(torch.cpu, name, None) for name in ('_is_amx_tile_supported', '_is_avx512_bf16_supported'))
    return any(ask() for ask in asked if ask is not None)
