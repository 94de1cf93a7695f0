"""Blocks of MQTransformer: attention between queries and a map, and multi-layer perceptrons with a norm inside."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn


class NormedMLP(nn.Module):
    """LayerNorm, Linear to ``ratio`` times the channels, GELU, Linear back."""

    def __init__(self, width: int, ratio: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, ratio * width), nn.Linear(ratio * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) → (B, N, C)."""
        return self.fc2(F.gelu(self.fc1(self.norm(x))))


class CodedAttention(nn.Module):
    """Multi-head attention whose queries, keys and values are normed after their position codes were added.

    Args:
        width: C.
        heads: Number of heads.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_q, self.norm_k, self.norm_v = (nn.LayerNorm(width) for _ in range(3))
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(
        self, q: Tensor, k: Tensor, v: Tensor, q_code: Tensor | None = None, k_code: Tensor | None = None
    ) -> Tensor:
        """Queries (B, N, C), keys and values (B, M, C) → (B, N, C); codes (B, N or M, C / heads) are every head's."""
        q = self._split(self.to_q(self.norm_q(self._coded(q, q_code))))
        k = self._split(self.to_k(self.norm_k(self._coded(k, k_code))))
        v = self._split(self.to_v(self.norm_v(v)))
        return self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _coded(self, x: Tensor, code: Tensor | None) -> Tensor:
        return x if code is None else x + code.repeat(1, 1, self.heads)

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class CrossTaskAttention(nn.MultiheadAttention):
    """Self-attention over the queries of all tasks, with dropout of its weights in a module of its own."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__(width, heads)
        self.weight_dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        """(B, N, C) → (B, N, C)."""
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias).unflatten(-1, (3, self.num_heads, -1))
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weight = self.weight_dropout((q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1))
        return self.out_proj((weight @ v).transpose(1, 2).flatten(2))
