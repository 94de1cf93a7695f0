"""One stage of the inverted pyramid: enlarge the tasks' maps, then let every task attend to all tasks (InvPT, 3.3-3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.models.layers.conv_block import conv_bn_relu, enlarge


class CrossTaskAttention(nn.Module):
    """Self-attention over the pixels of all tasks, with the attention message of the stage before.

    Queries are read at half the stage's resolution (a strided depthwise convolution per task), keys and values at the
    resolution of half the first stage's grid (average pooling), so that every stage attends to the same positions.

    Args:
        names: Task names.
        channels: C of the stage.
        pool: Kernel and stride of the pooling of keys and values.
        heads: Number of heads; the scores are scaled by C ** -0.5, the full width.
        has_message: Whether a stage before passes its scores on.
    """

    def __init__(self, names: Sequence[str], channels: int, pool: int, heads: int, has_message: bool) -> None:
        super().__init__()
        self.pool, self.heads = pool, heads
        self.query_conv = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.Conv2d(channels, channels, 3, stride=2, padding=1, groups=channels, bias=False),
                    nn.BatchNorm2d(channels),
                )
                for name in names
            }
        )
        self.query, self.key, self.value, self.out = (nn.Linear(channels, channels) for _ in range(4))
        self.fuse = nn.Conv2d(2 * heads, heads, 1) if has_message else None

    def forward(self, z: Sequence[Tensor], message: Tensor | None) -> tuple[list[Tensor], Tensor]:
        """Normed maps (B, C, h, w) per task → what attention adds to each, and this stage's scores.

        Args:
            z: Maps per task.
            message: Scores of the stage before, (B, heads, S·h/4·w/4, K).

        Returns:
            Maps (B, C, h, w), and scores before the softmax (B, heads, S·h/2·w/2, K).
        """
        queries = [conv(x) for conv, x in zip(self.query_conv.values(), z)]
        grid = queries[0].shape[-2:]
        pooled = [F.avg_pool2d(x, self.pool, ceil_mode=True) for x in z]
        q = self._split_heads(self.query(_tokens(queries)))  # (B, heads, S·h/2·w/2, C/heads)
        memory = _tokens(pooled)
        k, v = self._split_heads(self.key(memory)), self._split_heads(self.value(memory))
        score = q @ k.transpose(-2, -1) * z[0].shape[1] ** -0.5
        if message is not None and self.fuse is not None:
            score = self._fused(score, message, grid, len(z))
        out = (score.softmax(-1) @ v).transpose(1, 2).flatten(2)  # (B, S·h/2·w/2, C)
        added = [x.transpose(1, 2).unflatten(2, grid) for x in self.out(out).chunk(len(z), 1)]
        return [F.interpolate(x, z[0].shape[-2:], mode='bilinear', align_corners=False) for x in added], score

    def _split_heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)

    def _fused(self, score: Tensor, message: Tensor, grid: torch.Size, tasks: int) -> Tensor:
        """Scores and message through one 1x1 convolution; its half for the message commutes with the enlargement."""
        assert self.fuse is not None
        heads, weight = self.heads, self.fuse.weight
        message = F.conv2d(message, weight[:, heads:])
        batch, _, _, keys = message.shape
        maps = (
            message.reshape(batch * heads * tasks, -1, keys).transpose(1, 2).unflatten(2, (grid[0] // 2, grid[1] // 2))
        )
        message = enlarge(maps, 2).flatten(2).transpose(1, 2).reshape(batch, heads, -1, keys)
        return F.conv2d(score, weight[:, :heads], self.fuse.bias) + message


def _tokens(maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, C, h, w) → tokens (B, S·h·w, C), task by task."""
    return torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1)


class InvPTStage(nn.Module):
    """Enlarge and refine the maps of all tasks (all stages but the first), then attend and transform.

    Args:
        names: Task names.
        in_channels: Channels of the stage before; None for the first stage.
        channels: C of this stage.
        index: Number of the stage, from 0.
        heads: Attention heads.
    """

    def __init__(self, names: Sequence[str], in_channels: int | None, channels: int, index: int, heads: int) -> None:
        super().__init__()
        self.refine = None
        if in_channels is not None:
            self.refine = nn.ModuleDict(
                {
                    name: nn.Sequential(
                        conv_bn_relu(in_channels, channels, dilation=2), conv_bn_relu(channels, channels, dilation=2)
                    )
                    for name in names
                }
            )
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attention = CrossTaskAttention(names, channels, 2 ** (index + 1), heads, in_channels is not None)
        self.mlp = nn.Sequential(nn.Linear(channels, 4 * channels), nn.GELU(), nn.Linear(4 * channels, channels))
        self.apply(_init)

    def forward(
        self, maps: Sequence[Tensor], skip: Tensor | None, message: Tensor | None
    ) -> tuple[list[Tensor], Tensor]:
        """Maps per task, a skip map of the backbone and the message of the stage before → maps, message."""
        if self.refine is not None:
            maps = [refine(enlarge(x, 2)) for refine, x in zip(self.refine.values(), maps)]
            maps = [x + skip for x in maps] if skip is not None else maps
        added, message = self.attention([_on_channels(self.norm1, x) for x in maps], message)
        maps = [x + y for x, y in zip(maps, added)]
        return [x + _on_channels(self.mlp, _on_channels(self.norm2, x)) for x in maps], message


def _on_channels(layer: nn.Module, x: Tensor) -> Tensor:
    """A layer of the last dimension, applied to the channels of (B, C, h, w)."""
    return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def _init(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
