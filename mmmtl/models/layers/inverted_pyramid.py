"""The inverted pyramid transformer of InvPT (ECCV 2022, sections 3.2-3.4), which TSP-Transformer shares.

========================  ======================================================================
name here                 in the paper
========================  ======================================================================
``preliminary``           preliminary decoders (section 3.2), with supervised predictions
``mix``                   combination of preliminary features and predictions
``stages``                UP-Transformer stages (section 3.3), each with cross-scale messages (3.4)
``skips``                 encoder features added to stages 1 and 2
``project``, ``heads``    multi-scale aggregation and final predictions
========================  ======================================================================

Shapes: B images, S tasks with C_t channels, d channels of the preliminary features, E of the first stage, h x w its grid.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.decoder import Decoder, Targets
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


class InvertedPyramidStage(nn.Module):
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


class InvertedPyramidDecoder(Decoder):
    """Inverted pyramid transformer over the preliminary features of all tasks.

    The first stage works on twice the stride of the second of three backbone levels, the others on a half and a quarter
    of that stride. A level of the stage's own stride is added as it is (3x3 convolution), one of twice the stride is
    enlarged by a transposed convolution: that fits a plain ViT (levels of stride 16, first stage 32, as published) and a
    pyramid (levels 4, 8, 16, 32, first stage 16: a reconstruction of the ResNet-18 rows of the DiffusionMTL paper).

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. Four levels.
        channels: d, width of the preliminary features.
        extra_channels: Added to d in the first stage; stages have (d + this) / 1, 2 and 4 channels.
        heads: Attention heads.
        inter_weight: Weight of the preliminary predictions' losses (``inter.loss_<task>``).

    Raises:
        ConfigError: Levels whose number or strides do not fit.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int = 512,
        extra_channels: int = 64,
        heads: int = 2,
        inter_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        if len(self.strides) != 4:
            raise ConfigError(
                f'{type(self).__name__} needs four backbone levels, got {len(self.strides)} (strides {self.strides})'
            )
        names, depth, width = list(self.tasks), self.in_channels[-1], channels + extra_channels
        self.stride = 2 * self.strides[1]
        self.size_multiple = 2 * self.stride
        self.inter_weight = inter_weight
        widths = (width, width // 2, width // 4)
        outs = {name: task.out_channels for name, task in self.tasks.items()}
        self.preliminary = nn.ModuleDict(
            {n: nn.Sequential(conv_bn_relu(depth, depth), conv_bn_relu(depth, channels)) for n in names}
        )
        self.preliminary_heads = nn.ModuleDict({n: nn.Conv2d(channels, c, 1) for n, c in outs.items()})
        self.mix = nn.ModuleDict({n: nn.Conv2d(channels + c, width, 1) for n, c in outs.items()})
        self.skips = nn.ModuleList([self._skip(1, widths[1], 2), self._skip(0, widths[2], 4)])
        self.stages = nn.ModuleList(
            InvertedPyramidStage(names, widths[i - 1] if i else None, c, i, heads) for i, c in enumerate(widths)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(len(names) * c) for c in widths)
        self.reduce = nn.ModuleList(nn.ModuleDict({n: nn.Conv2d(c, width, 1) for n in names}) for c in widths[1:])
        self.project = nn.ModuleDict({n: conv_bn_relu(width, width, bias=True) for n in names})
        self.heads = nn.ModuleDict({n: nn.Conv2d(width, c, 1) for n, c in outs.items()})
        for block in self.project.values():
            nn.init.trunc_normal_(block[0].weight, std=0.02)

    def _skip(self, level: int, channels: int, division: int) -> nn.Module:
        """Layer that brings a level to the stride of the stage it is added to."""
        stride, wanted = self.strides[level], self.stride // division
        if stride == wanted:
            return nn.Conv2d(self.in_channels[level], channels, 3, padding=1)
        if stride == 2 * wanted:
            return nn.ConvTranspose2d(self.in_channels[level], channels, 3, stride=2, padding=1, output_padding=1)
        raise ConfigError(
            f'{type(self).__name__} adds level {level} to a stage of stride {wanted}; its stride is {stride}, not {wanted} or '
            f'{2 * wanted}. Levels of equal stride (a ViT) or of strides 4, 8, 16, 32 fit.'
        )

    @abstractmethod
    def split_levels(self, feats: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor, Tensor]:
        """Backbone maps → the last level as each task sees it, and levels 1 and 0 for the skips."""

    def forward(self, feats: Sequence[Tensor], size: tuple[int, int]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Backbone levels → final maps (stride ``self.stride`` / 8) and preliminary maps (stride ``self.stride``).

        Raises:
            ConfigError: The input's size is no multiple of twice the first stage's stride.
        """
        multiple = self.size_multiple
        if size[0] % multiple or size[1] % multiple:
            raise ConfigError(
                f'{type(self).__name__} takes images whose height and width are multiples of {multiple}, got {size[0]}x{size[1]}'
            )
        grid = (size[0] // self.stride, size[1] // self.stride)
        last, fine, finest = self.split_levels(feats)
        inter, maps = {}, []
        for name, x in zip(self.tasks, last):
            feature = self.preliminary[name](
                F.interpolate(x, grid, mode='bilinear', align_corners=False)
            )  # (B, d, h, w)
            inter[name] = self.preliminary_heads[name](feature)  # (B, C_t, h, w)
            maps.append(self.mix[name](torch.cat([feature, inter[name]], 1)))  # (B, E, h, w)
        skips = [None, self.skips[0](fine), self.skips[1](finest)]  # (B, E/2, 2h, 2w) and (B, E/4, 4h, 4w)
        final = (8 * grid[0], 8 * grid[1])
        total: dict[str, Tensor] = {}
        message = None
        for i, stage in enumerate(self.stages):
            maps, message = stage(maps, skips[i], message)  # (B, E/2^i, 2^i h, 2^i w) per task
            for name, side in self._side(i, maps).items():
                side = F.interpolate(side, final, mode='bilinear', align_corners=False)  # (B, E, 8h, 8w)
                total[name] = total[name] + side if i else side
        return {name: self.heads[name](self.project[name](y)) for name, y in total.items()}, inter

    def _side(self, index: int, maps: Sequence[Tensor]) -> dict[str, Tensor]:
        """A stage's contribution to the final features: normed over all tasks, at the width of the first stage."""
        normed = self.norms[index](torch.cat(maps, 1).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        sides = dict(zip(self.tasks, normed.chunk(len(maps), 1)))
        return {n: self.reduce[index - 1][n](x) for n, x in sides.items()} if index else sides

    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self.loss_and_maps(feats, targets, noise, size)[0]

    def loss_and_maps(
        self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int], batch: int | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        raw, inter = self(feats, size)
        early = self.task_losses(inter, targets, size, prefix='inter.', weight=self.inter_weight, batch=batch)
        return {**self.task_losses(raw, targets, size, batch=batch), **early}, raw

    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self(feats, size)[0]
