"""Attention between the tokens of one pixel, as DeMT and MQTransformer use it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def attend_tasks(attention: nn.MultiheadAttention, query: Tensor, tokens: Tensor, mix_batch: bool) -> Tensor:
    """Every pixel attends to the task tokens at its own place.

    Args:
        attention: Takes [length, batch, C].
        query: (B, P, C).
        tokens: (B, S, P, C), keys and values.
        mix_batch: Attend to the tokens of all images of the batch, as published code does; else to the own image's.

    Returns:
        (B, P, C).
    """
    batch, tasks, positions, width = tokens.shape
    if mix_batch:
        keys = tokens.reshape(batch * tasks, positions, width)
        return attention(query, keys, keys, need_weights=False)[0]
    keys = tokens.transpose(0, 1).reshape(tasks, batch * positions, width)
    out = attention(query.reshape(1, batch * positions, width), keys, keys, need_weights=False)[0]
    return out.reshape(batch, positions, width)


def attend_batch(attention: nn.MultiheadAttention, tokens: Tensor, mix_batch: bool) -> Tensor:
    """Every token attends to the tokens at its place in the images of the batch, as published code does.

    Without ``mix_batch`` that is the own image alone: the softmax over one key is 1, so the values pass as they are.

    Args:
        attention: Takes [length, batch, C].
        tokens: (B, P, C).

    Returns:
        (B, P, C).
    """
    if mix_batch:
        return attention(tokens, tokens, tokens, need_weights=False)[0]
    width = tokens.shape[-1]
    value = F.linear(tokens, attention.in_proj_weight[2 * width :], attention.in_proj_bias[2 * width :])
    return attention.out_proj(value)


def concat_levels(feats: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Levels (B, C_l, h_l, w_l), enlarged or reduced to ``size``, one behind the other: (B, ΣC_l, h, w)."""
    return torch.cat([F.interpolate(f, size, mode='bilinear', align_corners=False) for f in feats], 1)
