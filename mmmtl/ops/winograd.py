"""Winograd's minimal filtering in plain PyTorch: 3x3 convolutions with fewer multiplications.

For prediction on a CPU, where oneDNN has no such kernel; a GPU's library has its own. In fp32 blocks of 4x4 pixels take
a quarter of the multiplications, four times the memory of the weights, and about 1e-6 of relative accuracy. In bfloat16
blocks of 2x4 take a third of them, with three times the rounding error of a bfloat16 convolution.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import TapMajorConv2d, as_channels_last
from .dispatch import PROCESSOR, mkl_reaches_peak, precision, predicting, served
from .gemm import matmul, stacked_linear
from .inference import InferenceForm, inference_form_of

_POINTS = {2: (0, 1, -1), 4: (0, 0.75, -0.75, 1.5, -1.5)}
"""Interpolation points besides infinity, by the pixels of a block along one side. Those of 4 halve the rounding errors of
the usual ±1 and ±2 (their powers lie closer together), and like them make transforms that bfloat16 holds exactly."""


def _line(block: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Transforms of a line of ``block`` outputs: input (n, n), kernel (n, 3), output (``block``, n); n = ``block`` + 2.

    Toom and Cook's: a polynomial product by values at n - 1 points and at infinity, transposed (Lavin and Gray 2016).
    """
    points = _POINTS[block]
    enter, kernel, leave = np.zeros((block + 2, block + 2)), np.zeros((block + 2, 3)), np.zeros((block, block + 2))
    for row, point in enumerate(points):
        others = [p for p in points if p != point]
        enter[row, :-1] = np.poly(others)[::-1]
        kernel[row] = np.power(point, range(3)) / np.prod(np.subtract(point, others))
        leave[:, row] = np.power(point, range(block))
    enter[-1], kernel[-1, -1], leave[-1, -1] = np.poly(points)[::-1], 1, 1
    return enter, kernel, leave


class Filtering(NamedTuple):
    """Transforms of blocks of pixels of one size; S is the number of products per block and pair of channels.

    Attributes:
        block: Rows and columns of the pixels that come out.
        side: Rows and columns of the pixels that go in.
        enter: Of the input, (S, rows · columns of ``side``).
        kernel: Of the kernel, (S, 9), in double precision.
        leave: Of the output, (rows · columns of ``block``, S).
    """

    block: tuple[int, int]
    side: tuple[int, int]
    enter: Tensor
    kernel: Tensor
    leave: Tensor

    @classmethod
    def of(cls, rows: int, columns: int) -> Filtering:
        """The transforms of blocks of ``rows`` x ``columns`` pixels."""
        both = [torch.from_numpy(np.kron(a, b)) for a, b in zip(_line(rows), _line(columns))]
        return cls((rows, columns), (rows + 2, columns + 2), both[0].float(), both[1], both[2].float())


FP32 = Filtering.of(4, 4)
_FILTERINGS = {torch.float32: FP32, torch.bfloat16: Filtering.of(2, 4)}
_BY_PRODUCTS = {len(f.enter): f for f in _FILTERINGS.values()}


TRANSFORMING = 44 if mkl_reaches_peak(PROCESSOR) else 72
"""What the transforms of a channel cost, over the multiplications that a pair of channels saves. Measured where both ways
take the same time: with 128 channels on an Intel processor (with AMX) the direct convolution takes 1.5 times as long, with
64 as long; on an AMD one it is the faster one with 128, and takes 1.4 times as long with 256."""
FEWEST_TILES = 8
"""Nor do fewer blocks of pixels, which every transformed weight is read for."""
MOST_TILES = 128
"""More blocks at once are not faster, but take more memory; half as many read every weight too often."""


def transform_weight(weight: Tensor, filtering: Filtering = FP32) -> Tensor:
    """(O, I, 3, 3) → (S, O, I), stored as (S, I, O), which the matrix products read faster."""
    # in double precision: it happens once, and its error would be in every product
    taps = weight.detach().double().permute(2, 3, 1, 0).reshape(9, -1)
    wide = (filtering.kernel @ taps).view(-1, weight.shape[1], weight.shape[0])
    return wide.to(weight.dtype).transpose(1, 2)


def tiles_of(x: Tensor, filtering: Filtering = FP32) -> int:
    """Blocks that one sample of x (B, C, h, w) is cut into."""
    (rows, columns), (height, width) = filtering.block, x.shape[2:]
    return -(-height // rows) * -(-width // columns)


def samples_at_once(x: Tensor, filtering: Filtering = FP32) -> int:
    """Samples of x (B, C, h, w) that have no more than :data:`MOST_TILES` blocks together; at least one."""
    return max(MOST_TILES // tiles_of(x, filtering), 1)


def filtering_of(x: Tensor) -> Filtering | None:
    """The blocks by which a map is convolved; None: by the library, which is the faster way on this device, in this
    precision, or at this size."""
    filtering = _FILTERINGS.get(precision(x)) if served('winograd', x) else None
    return filtering if filtering is not None and len(x) * tiles_of(x, filtering) >= FEWEST_TILES else None


def convolves(x: Tensor, weight: Tensor) -> bool:
    """Whether :func:`prepared_conv3x3` serves a convolution of ``x`` by ``weight`` in prediction."""
    if x.ndim != 4 or not predicting() or precision(weight) is not precision(x):
        return False
    return filtering_of(x) is not None or served('prepared_weights', x)


def preparation(x: Tensor) -> tuple[torch.dtype, bool]:
    """What :func:`prepare_weight` depends on of a map: the precision, and whether the library convolves."""
    return precision(x), filtering_of(x) is None


def prepare_weight(weight: Tensor, x: Tensor) -> Tensor:
    """What :func:`prepared_conv3x3` takes of a weight (O, I, 3, 3), in the precision and for the device and the size of a map."""
    filtering, weight = filtering_of(x), weight.detach()
    if filtering is None:
        return as_channels_last(weight.to(precision(x)))
    return transform_weight(weight, filtering).to(precision(x))


def prepared_conv3x3(
    x: Tensor,
    prepared: Tensor,
    bias: Tensor | None = None,
    plus: Tensor | BorderField | None = None,
    relu: bool = False,
) -> Tensor:
    """As :func:`winograd_conv3x3`, with the result of :func:`prepare_weight`: by blocks, or by the library."""
    if prepared.ndim == 3:
        return winograd_conv3x3(x, prepared, bias, plus, relu)
    y = F.conv2d(x, prepared, None if bias is None else bias.to(x.dtype), padding=1)
    if isinstance(plus, BorderField):
        plus = plus.band(0, *plus.size).permute(0, 3, 1, 2)
    if plus is not None:
        y += plus
    return y.relu_() if relu else y


def windows(x: Tensor, side: tuple[int, int], step: tuple[int, int], border: int) -> Tensor:
    """Windows of ``side`` pixels at every ``step``-th pixel of x (B, C, h, w), zeros around it: (S, B · blocks, C)."""
    return band_windows(x, side, step, border, 0, -(-x.shape[2] // step[0]))


def band_windows(x: Tensor, side: tuple[int, int], step: tuple[int, int], border: int, first: int, last: int) -> Tensor:
    """Of :func:`windows` those in the rows [first, last) of blocks."""
    batch, channels, height, width = x.shape
    rows, columns = last - first, -(-width // step[1])
    top, bottom = first * step[0] - border, last * step[0] + border
    seen = x.permute(0, 2, 3, 1)[:, max(top, 0) : bottom]
    right = step[1] * columns + border - width
    padded = F.pad(seen, (0, 0, border, right, max(-top, 0), max(bottom - height, 0))).contiguous()
    steps = padded.stride()
    found = padded.as_strided(
        (*side, batch, rows, columns, channels),
        (steps[1], steps[2], steps[0], step[0] * steps[1], step[1] * steps[2], steps[3]),
    )
    return found.reshape(side[0] * side[1], batch * rows * columns, channels)


class BorderField(NamedTuple):
    """A map (1, O, h, w) whose inner rows are all alike, as its inner columns are: at most three of either are kept.

    Attributes:
        field: (1, O, min(h, 3), min(w, 3)).
        size: h and w.
    """

    field: Tensor
    size: tuple[int, int]

    def band(self, first: int, last: int, width: int) -> Tensor:
        """(1, ``last`` - ``first``, ``width``, O): these rows and the first columns; beyond the map stands anything."""
        kept = self.field.permute(0, 2, 3, 1)
        rows, columns = (
            (torch.arange(a, b).clamp_max(1) + (torch.arange(a, b) >= n - 1) * (n > 2)).clamp_max(min(n, 3) - 1)
            for a, b, n in zip((first, 0), (last, width), self.size)
        )
        return kept[:, rows][:, :, columns]


def winograd_conv3x3(
    x: Tensor,
    transformed: Tensor,
    bias: Tensor | None = None,
    plus: Tensor | BorderField | None = None,
    relu: bool = False,
) -> Tensor:
    """``conv2d(x, weight, bias, padding=1)`` with ``transformed`` of :func:`transform_weight`.

    The blocks of a few rows go through all transforms together, so that what lies between these stays in the cache and
    its memory is used again; what follows the convolution is done there too.

    Args:
        x: (B, I, h, w).
        transformed: (S, O, I), of x's type.
        bias: (O,).
        plus: (B, O, h, w) that is added, or a field that is added to every image.
        relu: Whether negative results become 0.

    Returns:
        (B, O, h, w), channels-last.
    """
    filtering = _BY_PRODUCTS[len(transformed)]
    (down, across), (batch, _, height, width) = filtering.block, x.shape
    rows, columns = -(-height // down), -(-width // across)
    y = x.new_empty(batch, down * rows, across * columns, transformed.shape[1])
    blocks = y.view(batch, rows, down, columns, across, -1)
    if isinstance(plus, Tensor):
        around, beyond = plus.permute(0, 2, 3, 1), (0, 0, 0, y.shape[2] - width, 0, y.shape[1] - height)
        around = (F.pad(around, beyond) if any(beyond) else around).view(blocks.shape)
    samples = samples_at_once(x, filtering)
    step = max(MOST_TILES // columns, 1) if samples == 1 else rows
    for start in range(0, batch, samples):
        some = slice(start, start + samples)
        for first in range(0, rows, step):
            last = min(first + step, rows)
            tiles = band_windows(x[some], filtering.side, filtering.block, 1, first, last)
            part = _convolved(tiles, transformed, filtering).view(down, across, -1, last - first, columns, y.shape[-1])
            if bias is not None:
                part += bias.to(part.dtype)
            part = part.permute(2, 3, 0, 4, 1, 5)
            if isinstance(plus, BorderField):
                band = plus.band(first * down, last * down, y.shape[2])
                part += band.view(1, last - first, down, columns, across, -1)
            elif plus is not None:
                part += around[some, first:last]
            blocks[some, first:last] = part.relu_() if relu else part
    return y[:, :height, :width].permute(0, 3, 1, 2)


def _convolved(tiles: Tensor, transformed: Tensor, filtering: Filtering) -> Tensor:
    """Windows (S, n, I) → blocks (pixels of a block, n · O)."""
    spectrum = matmul(filtering.enter.to(tiles.dtype), tiles.flatten(1)).view(tiles.shape)
    del tiles
    products = stacked_linear(spectrum, transformed)
    del spectrum
    return matmul(filtering.leave.to(products.dtype), products.flatten(1))


def is_ordinary_3x3(module: nn.Module) -> bool:
    """Whether a module is a 3x3 convolution of stride 1 and padding 1, whose weight is a plain parameter."""
    if not isinstance(module, nn.Conv2d) or not isinstance(module._parameters.get('weight'), Tensor):
        return False
    geometry = (module.kernel_size, module.stride, module.padding, module.dilation, module.groups)
    return geometry == ((3, 3), (1, 1), (1, 1), (1, 1), 1) and module.padding_mode == 'zeros'


def pays(into: int, out: int) -> bool:
    """Whether a convolution with so many channels is faster so, on maps of any size."""
    return into * out > TRANSFORMING * (into + out)


@inference_form_of(nn.Conv2d, TapMajorConv2d, 'mmmtl.ops.winograd_gradients.WinogradGradientConv2d')
class WinogradConv2d(InferenceForm):
    """A wide 3x3 convolution (stride 1, padding 1) that predicts by :func:`winograd_conv3x3`."""

    weight: nn.Parameter
    bias: nn.Parameter | None

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether the module is such a convolution, and has so many channels that it pays."""
        return is_ordinary_3x3(module) and pays(module.in_channels, module.out_channels)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, h, w) → (B, O, h, w)."""
        if not convolves(x, self.weight):
            return super().forward(x)
        prepared = self.remember(preparation(x), (self.weight,), lambda: prepare_weight(self.weight, x))
        return prepared_conv3x3(x.to(precision(x)), prepared, self.bias)
