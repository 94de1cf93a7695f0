"""Attention, on PyTorch's fused kernel wherever that is the fastest way."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from mmmtl.errors import ConfigError

from .dispatch import predicting, served

LARGEST = 2**21
"""Attention weights at a time: 4 MB in bfloat16, which the cache holds until they are used."""


def plain_is_faster(x: Tensor, tokens: int) -> bool:
    """Whether attention over ``tokens`` takes half the time as two matrix products (CPU, bfloat16, no gradients)."""
    return tokens <= 2048 and served('attention', x) and predicting()


def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """softmax(q kᵀ / √d) v of (B, heads, N, d), (B, heads, M, d) twice → (B, heads, N, d)."""
    if not plain_is_faster(query, max(query.shape[-2], key.shape[-2])):
        return F.scaled_dot_product_attention(query, key, value)
    query = query * query.shape[-1] ** -0.5
    step = max(LARGEST // (len(query) * query.shape[-2] * key.shape[-2]), 1)
    out = torch.empty_like(query)
    for i in range(0, query.shape[1], step):
        few = (slice(None), slice(i, i + step))
        out[few] = (query[few] @ key[few].transpose(-2, -1)).softmax(-1) @ value[few]
    return out


class _OwnAttention(TorchFunctionMode):
    """Within it, PyTorch's fused attention without mask goes through :func:`attend`."""

    def __torch_function__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        kwargs = kwargs or {}
        ours = func is F.scaled_dot_product_attention and len(args) == 3
        if ours and kwargs.get('attn_mask') is None and not (kwargs.get('dropout_p') or kwargs.get('is_causal')):
            return attend(*args)
        return func(*args, **kwargs)


def faster_attention(x: Tensor) -> AbstractContextManager:
    """Context in which the attention of other packages' modules takes :func:`attend`, where that is the faster way.

    Args:
        x: Tells the device and the precision.
    """
    return _OwnAttention() if served('attention', x) and predicting() else nullcontext()


class CrossAttention(nn.Module):
    """Multi-head attention of one sequence over another.

    Args:
        channels: C of queries and output; a multiple of ``heads``.
        context_channels: Channels of the sequence attended to; default C.
        heads: Number of heads.
        bias: Biases of the three input projections.
    """

    def __init__(self, channels: int, context_channels: int | None = None, heads: int = 8, bias: bool = True) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f'CrossAttention: channels {channels} is not a multiple of heads {heads}')
        self.heads = heads
        self.query = nn.Linear(channels, channels, bias=bias)
        self.key_value = nn.Linear(context_channels or channels, 2 * channels, bias=bias)
        self.out = nn.Linear(channels, channels)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        """x (B, N, C), context (B, M, C') → (B, N, C)."""
        batch, length, channels = x.shape
        split = (batch, -1, self.heads, channels // self.heads)
        query = self.query(x).reshape(split).transpose(1, 2)
        key, value = (m.reshape(split).transpose(1, 2) for m in self.key_value(context).chunk(2, -1))
        attended = attend(query, key, value)
        return self.out(attended.transpose(1, 2).reshape(batch, length, channels))
