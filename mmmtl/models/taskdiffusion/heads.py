"""Where TaskDiffusion's maps become large: the last refinement block, the prediction heads and the auxiliary heads.

A tail is ``head(skip(x) + conv1(act(norm(conv3(x)))))`` on a map enlarged four times. The 3x3 convolution of the enlarged
map runs on the small one (:mod:`mmmtl.ops.convolution`); ``conv1`` merges into ``head``; the skip path goes
through ``head`` on the small map as well. Only normalisation, GELU and a 3x3 convolution to the few output channels
remain on the large grid; they run in bands of rows, or are computed again in the backward pass, so that the large maps
of different tasks never exist together.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mmmtl.models.layers.film import FilmNorm, FilmRows
from mmmtl.ops.convolution import (
    TapMajorConv2d,
    as_channels_last,
    conv1x1,
    conv3x3_after_upsample,
    interpolate_taps,
    merge_pointwise,
    tap_products,
)
from mmmtl.ops.norm_act import frozen_statistics

from .denoiser import TimedBlock

BAND_BYTES = 8 * 2**20
"""Size of one band of an enlarged map on a CPU: it stays in the cache, and its memory is reused instead of faulted in."""


def recomputed(function: Callable[..., Tensor], *args: Tensor) -> Tensor:
    """``function(*args)`` whose intermediate maps are computed again in the backward pass instead of being kept."""
    if not torch.is_grad_enabled():
        return function(*args)
    return checkpoint(
        function,
        *args,
        use_reentrant=False,
        preserve_rng_state=False,
        context_fn=lambda: (nullcontext(), frozen_statistics()),
    )


def _bands(height: int, row_bytes: int, device: torch.device) -> list[tuple[int, int]]:
    """[first, last) of bands of rows."""
    rows = height if device.type != 'cpu' else max(min(BAND_BYTES // row_bytes, height), 4)
    return [(first, min(first + rows, height)) for first in range(0, height, rows)]


def _enlarged_tail(
    x: Tensor,
    skip: Tensor,
    conv3: nn.Conv2d,
    norm: FilmNorm,
    conv1: nn.Conv2d,
    head: nn.Conv2d,
    scale: int,
    rows: FilmRows | None,
) -> Tensor:
    """``head(up(skip) + conv1(act(norm(conv3(up(x))))))``, up = bilinear enlargement by ``scale``."""
    # enlarging leaves a constant alone, so conv1's bias may join the small skip map
    base = conv3x3_after_upsample(skip + conv1.bias[:, None, None].to(skip), head.weight, head.bias, scale)
    kernel = merge_pointwise(head.weight, conv1.weight)
    products, grid = tap_products(x, conv3.weight, conv3.bias), tuple(x.shape[-2:])
    height = grid[0] * scale
    bands = [(0, height)]
    if not torch.is_grad_enabled() and not norm.norm.training:
        bands = _bands(height, base[0, 0, 0].numel() * len(x) * conv3.out_channels * x.element_size(), x.device)
    if len(bands) == 1:
        return base + F.conv2d(norm(interpolate_taps(products, grid, scale), rows), kernel, padding=1)
    for first, last in bands:
        # one more row on either side, for the 3x3 kernel; at the edge of the map its zero padding is right
        low, high = max(first - 1, 0), min(last + 1, height)
        band = norm(interpolate_taps(products, grid, scale, (low, high)), rows)
        base[:, :, first:last] += F.conv2d(band, kernel, padding=1)[:, :, first - low : last - low]
    return base


def refine_and_predict(
    x: Tensor, block: TimedBlock, head: nn.Conv2d, scale: int, rows: FilmRows, recompute: bool
) -> Tensor:
    """Last residual block and prediction head, the map enlarged before by ``scale`` (1: as it is).

    Args:
        x: (B, E, h, w), channels-last.
        block, head: The block, and the 3x3 head to (C, E, 3, 3).
        scale: Enlargement.
        rows: Modulations at the present time.
        recompute: Do not keep the enlarged maps for the backward pass.
    """
    if scale == 1:
        skip = x + block.conv1.bias[:, None, None].to(x)
        hidden = block.hidden(x, rows)
        if 9 * head.out_channels >= x.shape[1]:
            return head(skip + conv1x1(hidden, block.conv1.weight))
        return head(skip) + F.conv2d(hidden, merge_pointwise(head.weight, block.conv1.weight), padding=1)

    def tail(x: Tensor) -> Tensor:
        return _enlarged_tail(x, x, block.conv3, block.norm, block.conv1, head, scale, rows)

    return recomputed(tail, x) if recompute else tail(x)


class AuxHead(BaseModule):
    """Auxiliary head of the plain variant, on the conditions of all levels: conv3x3-BN-GELU-conv1x1 with a 1x1 skip, then
    a 3x3 head; training only.

    Args:
        levels: Number of levels.
        width: Channels of a level.
        out_channels: Channels of the raw map.
    """

    def __init__(self, levels: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.conv3 = TapMajorConv2d(levels * width, width)
        self.norm = FilmNorm(width)
        self.conv1 = nn.Conv2d(width, width, 1)
        self.skip = nn.Conv2d(levels * width, width, 1)
        self.head = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, maps: list[Tensor], scale: int, recompute: bool) -> Tensor:
        """Conditions of one task, per level (B, E, h, w) → raw map (B, C, scale·h, scale·w)."""

        def tail(*maps: Tensor) -> Tensor:
            x = as_channels_last(torch.cat(maps, 1))
            skip = conv1x1(x, self.skip.weight, self.skip.bias)
            return _enlarged_tail(x, skip, self.conv3, self.norm, self.conv1, self.head, scale, None)

        return recomputed(tail, *maps) if recompute else tail(*maps)


class LevelMaskAuxHead(BaseModule):
    """Auxiliary head of the MLoRE variant: a softmax mask weighs the enlarged levels, then a 3x3 head; training only.

    Args:
        levels: Number of levels.
        width: Channels of a level.
        out_channels: Channels of the raw map.
    """

    def __init__(self, levels: int, width: int, out_channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(levels * width, width, 1)
        self.norm = FilmNorm(width)
        self.conv3 = nn.Conv2d(width, levels, 3, padding=1)
        self.head = nn.Conv2d(width, out_channels, 3, padding=1)

    def forward(self, maps: list[Tensor], scale: int, recompute: bool) -> Tensor:
        """As :meth:`AuxHead.forward`."""

        def enlarge(x: Tensor) -> Tensor:
            return F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)

        def tail(*maps: Tensor) -> Tensor:
            # a 1x1 convolution and the enlargement may change places
            mask = enlarge(conv1x1(as_channels_last(torch.cat(maps, 1)), self.conv1.weight, self.conv1.bias))
            mask = self.conv3(self.norm(mask)).softmax(1)
            total = enlarge(maps[0]) * mask[:, :1]
            for level, x in enumerate(maps[1:], 1):
                total = torch.addcmul(total, enlarge(x), mask[:, level : level + 1])
            return self.head(total)

        return recomputed(tail, *maps) if recompute else tail(*maps)
