"""Attention on PyTorch's fused kernel, so that no attention matrix is ever stored."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ['CrossAttention']


class CrossAttention(nn.Module):
    """Multi-head attention of one sequence over another.

    Args:
        channels: C of queries and output; a multiple of ``heads``.
        context_channels: Channels of the sequence attended to; default C.
        heads: Number of heads.
        bias: Biases of the three input projections.
    """

    def __init__(
        self, channels: int, context_channels: int | None = None, heads: int = 8, bias: bool = True
    ) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f'CrossAttention: channels {channels} is not a multiple of heads {heads}')
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
        attended = F.scaled_dot_product_attention(query, key, value)
        return self.out(attended.transpose(1, 2).reshape(batch, length, channels))
