"""A residual block and a prediction head on an enlarged map, most of whose products run on the small map.

The 3x3 convolution of the enlarged map runs on the small one (:mod:`mmmtl.ops.convolution`); the 1x1 convolution merges
into the head; the skip path goes through the head on the small map as well. Only normalisation, GELU and a 3x3 convolution
to the few output channels remain on the large grid; in prediction they run in bands of rows.
"""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import conv1x1, conv3x3_after_upsample, interpolate_taps, merge_pointwise, tap_products
from .dispatch import predicting, served

BAND_BYTES = 8 * 2**20
"""Size of one band of an enlarged map on a CPU: it stays in the cache, and its memory is reused instead of faulted in."""


def residual_head(
    x: Tensor,
    skip: Tensor,
    conv3: nn.Conv2d,
    act: Callable[[Tensor], Tensor],
    conv1: nn.Conv2d,
    head: nn.Conv2d,
    scale: int = 1,
    positionwise: bool = False,
) -> Tensor:
    """``head(up(skip) + conv1(act(conv3(up(x)))))``, up = bilinear enlargement by ``scale``.

    Args:
        x: (B, I, h, w).
        skip: (B, E, h, w).
        conv3: 3x3, I to M channels.
        act: What stands between the convolutions; may overwrite its argument where no gradient is recorded.
        conv1: 1x1, M to E channels.
        head: 3x3, E to C channels.
        scale: Whole number; 1: the maps are as large as they shall be.
        positionwise: ``act`` treats every position by itself (a norm in evaluation does, in training it does not).

    Returns:
        (B, C, scale·h, scale·w).
    """
    if not served('residual_head', x):
        if scale > 1:
            x, skip = (F.interpolate(m, scale_factor=scale, mode='bilinear', align_corners=False) for m in (x, skip))
        return head(skip + conv1(act(conv3(x))))
    # enlarging leaves a constant alone, so conv1's bias may join the small skip map
    skip = skip + conv1.bias[:, None, None].to(skip) if conv1.bias is not None else skip
    if scale == 1:
        hidden = act(conv3(x))
        if 9 * head.out_channels >= len(conv1.weight):
            return head(skip + conv1x1(hidden, conv1.weight))
        return head(skip) + F.conv2d(hidden, merge_pointwise(head.weight, conv1.weight), padding=1)
    base = conv3x3_after_upsample(skip, head.weight, head.bias, scale)
    kernel = merge_pointwise(head.weight, conv1.weight)
    products, grid = tap_products(x, conv3.weight, conv3.bias), (x.shape[2], x.shape[3])
    height, in_bands = grid[0] * scale, positionwise and predicting() and served('bands', x)
    rows = height
    if in_bands:
        row_bytes = grid[1] * scale * len(x) * conv3.out_channels * x.element_size()
        rows = max(min(BAND_BYTES // row_bytes, height), 4)
    if rows >= height:
        return base + F.conv2d(act(interpolate_taps(products, grid, scale)), kernel, padding=1)
    for first in range(0, height, rows):
        # one more row on either side, for the 3x3 kernel; at the edge of the map its zero padding is right
        last = min(first + rows, height)
        low, high = max(first - 1, 0), min(last + 1, height)
        band = act(interpolate_taps(products, grid, scale, (low, high)))
        base[:, :, first:last] += F.conv2d(band, kernel, padding=1)[:, :, first - low : last - low]
    return base
