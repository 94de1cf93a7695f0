"""The four kinds of context that a target task reads from a source task (ATRC, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.models.layers.conv_block import conv_bn_relu

NONE, GLOBAL, LOCAL, TARGET_LABEL, SOURCE_LABEL = range(5)
WINDOW = 9
"""Side of the neighbourhood of the local context."""


class Context(nn.Module):
    """Queries of the target's features against keys and values of the source's.

    Args:
        channels: c of the features.
        width: a of queries, keys and values.
        kind: ``GLOBAL`` (linear attention over the map), ``LOCAL`` (over a 9x9 neighbourhood), ``TARGET_LABEL`` or
            ``SOURCE_LABEL`` (over one token per class of the target's or the source's labels).
        affine: Learn gain and offset of the values' norm (not while an architecture is searched).
    """

    def __init__(self, channels: int, width: int, kind: int, affine: bool = True) -> None:
        super().__init__()
        self.kind = kind
        self.query, self.key = (
            nn.Sequential(conv_bn_relu(channels, width, 1), conv_bn_relu(width, width, 1)) for _ in range(2)
        )
        if kind == GLOBAL:
            for projection in (self.query, self.key):
                projection[1][2] = nn.Softplus()
        self.value = conv_bn_relu(channels, width, 1)
        if not affine:
            self.value[1] = nn.BatchNorm2d(width, affine=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, target: Tensor, source: Tensor, share: Tensor | None = None) -> Tensor:
        """Features (B, c, h, w) of target and source → context (B, a, h, w).

        Args:
            share: (B, A, h·w): each class's weights of the positions, for the label contexts.
        """
        if self.kind in (TARGET_LABEL, SOURCE_LABEL):
            assert share is not None
            source = (source.flatten(2) @ share.transpose(1, 2))[..., None]  # (B, c, A, 1): a token per class
        q, k, v = self.query(target), self.key(source), self.value(source)
        if self.kind == LOCAL:
            return local_attention(q, k, v)
        flat_q, flat_k, flat_v = q.flatten(2), k.flatten(2), v.flatten(2)
        if self.kind == GLOBAL:
            total = flat_v @ flat_k.transpose(1, 2) @ flat_q  # (B, a, h·w)
            scale = (flat_k.sum(2)[:, None] @ flat_q).clamp_min(1e-12)
            return (total / scale).unflatten(2, q.shape[-2:])
        score = (flat_q.transpose(1, 2) @ flat_k * q.shape[1] ** -0.5).softmax(-1)  # (B, h·w, A)
        return (flat_v @ score.transpose(1, 2)).unflatten(2, q.shape[-2:])


def local_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of every position over its 9x9 neighbourhood; positions outside the map score 0 and hold 0.

    Args:
        q, k, v: (B, a, h, w).

    Returns:
        (B, a, h, w).
    """
    pad, (height, width) = WINDOW // 2, q.shape[-2:]
    k, v = (F.pad(x, (pad, pad, pad, pad)) for x in (k, v))
    offsets = [(i, j) for i in range(WINDOW) for j in range(WINDOW)]
    score = torch.stack([(q * k[:, :, i : i + height, j : j + width]).sum(1) for i, j in offsets], 1)
    weight = (score * q.shape[1] ** -0.5).softmax(1)  # (B, 81, h, w)
    out = torch.zeros_like(q)
    for n, (i, j) in enumerate(offsets):
        out = torch.addcmul(out, weight[:, n : n + 1], v[:, :, i : i + height, j : j + width])
    return out
