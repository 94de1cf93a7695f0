"""Attention between the tokens of one pixel, and what else DeMT and MQTransformer share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.decoder import FeedForwardDecoder
from mmmtl.models.layers.conv_block import conv_bn_relu


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


class PixelTokenDecoder(FeedForwardDecoder):
    """A decoder that works on tokens, one per task and pixel, and reads the predictions from them.

    Published code feeds an attention with images where it expects positions, so that with ``mix_batch`` (parity) every
    prediction depends on the other images of the batch; without, it is what that code gives for one image at a time.

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. Levels are enlarged to the first one.
        width: C of the tokens.
        num_heads: Heads of all attentions.
        mix_batch: Let the images of a batch see each other, as published code does.

    Raises:
        ConfigError: A width that the heads do not divide.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        width: int,
        num_heads: int,
        mix_batch: bool,
        init_cfg: dict | None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        if width % num_heads:
            raise ConfigError(f'{type(self).__name__}: width={width} must be a multiple of num_heads={num_heads}')
        self.mix_batch = mix_batch

    def add_heads(self, width: int, hidden: int) -> None:
        """Per task a 3x3 convolution from ``width`` to ``hidden`` channels, and the prediction."""
        self.project = nn.ModuleDict({n: conv_bn_relu(width, hidden) for n in self.tasks})
        self.heads = nn.ModuleDict({n: nn.Conv2d(hidden, t.out_channels, 1) for n, t in self.tasks.items()})
        for head in self.heads.values():
            nn.init.normal_(head.weight, std=0.01)
            nn.init.zeros_(head.bias)

    def read_tokens(self, tokens: Iterable[Tensor], grid: Sequence[int]) -> dict[str, Tensor]:
        """Tokens (B, P, C) of every task → raw maps (B, C_t, h, w)."""
        maps = (x.transpose(1, 2).unflatten(2, tuple(grid)) for x in tokens)
        return {n: self.heads[n](self.project[n](x)) for n, x in zip(self.tasks, maps)}
