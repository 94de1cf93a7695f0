"""Convolutions by cheaper, exactly equal routes.

* :func:`conv3x3_after_upsample`: a 3x3 convolution of a bilinearly enlarged map is a sum over taps k of interpolation
  matrices applied to ``W_k x``; the nine channel products run on the small map (for a x4 enlargement: 16 times fewer).
* :func:`conv3x3_after_doubling`: after a doubling by nearest pixels, four 2x2 convolutions of the small map.
* :func:`merge_pointwise`: 1x1 followed by 3x3 with nothing in between is one 3x3.

Maps are (B, C, h, w) in channels-last memory, where a 1x1 convolution is a plain matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import predicting, served
from .gemm import batched_matmul, linear, matmul


def as_channels_last(x: Tensor) -> Tensor:
    """The same map in channels-last memory."""
    return x.contiguous(memory_format=torch.channels_last)


def conv1x1(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.conv2d(x, weight, bias)`` of a channels-last map, as a matrix product. ``weight``: (O, C) or (O, C, 1, 1)."""
    if not served('conv1x1', x):
        return F.conv2d(x, weight.reshape(*weight.shape[:2], 1, 1), bias)
    return linear(x.permute(0, 2, 3, 1), weight.reshape(weight.shape[:2]), bias).permute(0, 3, 1, 2)


def conv1x1_of_concat(maps: Sequence[Tensor], weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``conv1x1(torch.cat(maps, 1), weight, bias)`` of maps of one width, without the concatenated map."""
    if not served('merged_convolution', maps[0]):
        return conv1x1(torch.cat(list(maps), 1), weight, bias)
    first, *others = weight.flatten(1).chunk(len(maps), 1)
    y = conv1x1(maps[0], first, bias)
    for x, part in zip(maps[1:], others):
        y = y.add_(conv1x1(x, part)) if predicting() else y + conv1x1(x, part)
    return y


def conv1x1_affine(x: Tensor, weight: Tensor, bias: Tensor, gain: Tensor, offset: Tensor) -> Tensor:
    """``conv1x1(x, weight, bias) * gain + offset`` with rows (1 or B, O); one row is folded into the weight."""
    if len(gain) > 1 or not served('merged_convolution', x):
        gain, offset = (row[:, :, None, None].to(x.dtype) for row in (gain, offset))
        return torch.addcmul(offset, conv1x1(x, weight, bias), gain)
    weight = weight.flatten(1) * gain[0][:, None].to(weight.dtype)
    return conv1x1(x, weight, torch.addcmul(offset[0], bias, gain[0]).to(bias.dtype))


class Conv1x1(nn.Conv2d):
    """``nn.Conv2d(in_channels, out_channels, 1)``, computed as a matrix product (:func:`conv1x1`)."""

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return conv1x1(x, self.weight, self.bias)


def conv3x3(in_channels: int, out_channels: int, bias: bool = True) -> nn.Conv2d:
    """``nn.Conv2d(in_channels, out_channels, 3, padding=1)``, its weight in memory as a CPU convolves by it.

    Otherwise a CPU reorders the weight in every call, which takes a fifth of the convolution's time.
    """
    conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=bias)
    conv.weight.data = as_channels_last(conv.weight.data)
    return conv


def conv1x1_conv3x3(x: Tensor, inner: nn.Conv2d, outer: nn.Conv2d) -> Tensor:
    """``outer(inner(x))`` of a 1x1 and a 3x3 convolution, as one 3x3 convolution where that is cheaper.

    Args:
        x: (B, I, h, w).
        inner: 1x1, with a bias.
        outer: 3x3 with zero padding 1.
    """
    if not served('merged_convolution', x):  # before sizes are compared: a batch of any size is traced
        return outer(inner(x))
    if x.shape[0] * x.shape[2] * x.shape[3] <= 9 * len(outer.weight):
        return outer(inner(x))  # merging costs 9 O multiplications where it saves one per position
    # what the inner bias adds at every position: through the zero padding it reaches fewer taps at the border
    reached = torch.einsum('omkl,m->okl', outer.weight, inner.bias)[:, None]
    field = F.conv2d(reached.new_ones(1, 1, *x.shape[-2:]), reached, outer.bias, padding=1)
    return F.conv2d(x, merge_pointwise(outer.weight, inner.weight), padding=1) + field


def merge_pointwise(weight_3x3: Tensor, weight_1x1: Tensor) -> Tensor:
    """Kernel (O, I, 3, 3) of a 1x1 convolution (M, I, 1, 1) followed by a 3x3 one (O, M, 3, 3).

    The biases do not merge: through zero padding the inner bias reaches fewer taps at the border.
    """
    out, mid = weight_3x3.shape[:2]
    taps = weight_3x3.permute(0, 2, 3, 1).reshape(-1, mid)
    return matmul(taps, weight_1x1.reshape(mid, -1)).reshape(out, 3, 3, -1).permute(0, 3, 1, 2)


class TapMajorConv2d(nn.Conv2d):
    """A 3x3 convolution whose weight (O, I, 3, 3) lies in memory tap by tap, as :func:`tap_products` reads it.

    Shape and state dict are those of ``nn.Conv2d``; only the strides differ, so no step copies the weight.
    """

    weight: nn.Parameter

    def __init__(self, in_channels: int, out_channels: int, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 3, padding=1, bias=bias)
        self.weight = nn.Parameter(self.weight.detach().permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1))


def _make_taps(small: int, scale: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Interpolation seen by each tap of a 3-tap filter, for a line of ``small`` samples enlarged ``scale`` times.

    Row y of the matrix of tap k is what the enlarged line holds at y + k - 1, and 0 outside it.

    Returns:
        (scale·small, 3·small) twice, with columns ordered (tap, sample) and (sample, tap).
    """
    size = small * scale
    up = F.interpolate(torch.eye(small, dtype=torch.float64)[None], size=size, mode='linear', align_corners=False)[0].T
    padded = F.pad(up, (0, 0, 1, 1))
    taps = torch.stack([padded[k : k + size] for k in range(3)], 1)
    matrices = (taps.reshape(size, -1), taps.transpose(1, 2).reshape(size, -1))
    return tuple(m.to(like).contiguous() for m in matrices)


_TAPS: dict[tuple, tuple[Tensor, Tensor]] = {}


def _taps(small: int, scale: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """:func:`_make_taps`, remembered for ordinary tensors (not while a graph is traced)."""
    if torch.compiler.is_compiling() or type(like) not in (Tensor, nn.Parameter):
        return _make_taps(small, scale, like)
    key = (small, scale, like.dtype, like.device)
    if key not in _TAPS:
        with torch.inference_mode(False), torch.no_grad():
            _TAPS[key] = _make_taps(small, scale, like.new_empty(0))
    return _TAPS[key]


def tap_products(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``W_k x`` for the nine taps of a 3x3 kernel (O, I, 3, 3), on the map's own grid.

    Returns:
        (B, 3·h, w·3·O), ordered (kh, h) and (w, kw, O). The bias is in the central tap, which no border cuts off.
    """
    batch, channels, height, width = x.shape
    out = weight.shape[0]
    rows = weight.permute(2, 3, 0, 1).reshape(9 * out, channels)
    products = conv1x1(x, rows, None if bias is None else F.pad(bias, (4 * out, 4 * out))).permute(0, 2, 3, 1)
    products = products.reshape(batch, height, width, 3, 3 * out).permute(0, 3, 1, 2, 4)
    return products.reshape(batch, 3 * height, width * 3 * out)


def interpolate_taps(
    products: Tensor, grid: tuple[int, int], scale: int, rows: tuple[int, int] | None = None
) -> Tensor:
    """Assemble the enlarged, convolved map from :func:`tap_products`.

    Args:
        products: (B, 3·h, w·3·O).
        grid: (h, w).
        scale: Integer magnification.
        rows: Only these output rows, [first, last).

    Returns:
        (B, O, scale·h or the number of rows, scale·w), channels-last.
    """
    height, width = grid
    down, across = _taps(height, scale, products)[0], _taps(width, scale, products)[1]
    if rows is not None:
        down = down[rows[0] : rows[1]]
    out = products.shape[2] // (3 * width)
    tall = torch.cat([matmul(down, p) for p in products]) if len(products) > 1 else matmul(down, products[0])
    tall = tall.reshape(-1, 3 * width, out)
    return batched_matmul(across, tall).reshape(len(products), -1, width * scale, out).permute(0, 3, 1, 2)


def conv3x3_after_upsample(x: Tensor, weight: Tensor, bias: Tensor | None = None, scale: int = 4) -> Tensor:
    """``conv2d(interpolate(x, scale_factor=scale, mode='bilinear'), weight, bias, padding=1)``, exactly.

    Args:
        x: (B, I, h, w), channels-last.
        weight: (O, I, 3, 3).
        bias: (O,).
        scale: Integer magnification.

    Returns:
        (B, O, scale·h, scale·w), channels-last.
    """
    if not served('upsampled_convolution', x):
        enlarged = F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)
        return F.conv2d(enlarged, weight, bias, padding=1)
    return interpolate_taps(tap_products(x, weight, bias), tuple(x.shape[-2:]), scale)


_LINE = [[[1.0, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]]
"""Which taps of three fall on which pixel before a doubling: parity of the output, pixel, tap."""
SMALLEST_DOUBLED = 64
"""Where the small map has fewer pixels than this, making four kernels costs more than it saves."""


def conv3x3_after_doubling(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``conv2d(interpolate(x, scale_factor=2, mode='nearest'), weight, bias, padding=1)``, exactly.

    Along a side two of the three taps fall on one pixel of the small map, so for every parity of row and column the output
    is a 2x2 convolution with sums of taps: 4 multiplications instead of 9, and no doubled map.

    Args:
        x: (B, I, h, w).
        weight: (O, I, 3, 3); fastest in channels-last memory.
        bias: (O,).

    Returns:
        (B, O, 2·h, 2·w).
    """
    (batch, into, height, width), out = x.shape, len(weight)
    if batch * height * width < SMALLEST_DOUBLED or not served('upsampled_convolution', x):
        return F.conv2d(F.interpolate(x, scale_factor=2, mode='nearest'), weight, bias, padding=1)
    taps, line = weight.permute(0, 2, 3, 1).reshape(out, 9, into), weight.new_tensor(_LINE)
    doubled = torch.einsum('ayk,bxl->abyxkl', line, line).reshape(2, 2, 4, 9)
    y: Tensor | None = None
    for row in range(2):
        for column in range(2):
            kernel = (doubled[row, column] @ taps).view(out, 2, 2, into).permute(0, 3, 1, 2)
            part = F.conv2d(x, kernel, bias, padding=1)
            if y is None:
                y = part.new_empty(batch, out, 2 * height, 2 * width)
                if part.is_contiguous(memory_format=torch.channels_last):
                    y = part.new_empty(batch, 2 * height, 2 * width, out).permute(0, 3, 1, 2)
            y[:, :, row::2, column::2] = part[:, :, row : row + height, column : column + width]
            del kernel, part
    return y  # type: ignore[return-value]
