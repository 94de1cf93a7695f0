"""Winograd's minimal filtering F(4x4, 3x3) in plain PyTorch: 3x3 convolutions with a quarter of the multiplications.

For prediction on a CPU in fp32, where oneDNN has no such kernel; a GPU's library has its own. It costs four times the
memory of the weights, and about 5e-6 of relative accuracy, so it is an option (``winograd=True`` of a decoder).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .gemm import linear, matmul

__all__ = ['WinogradConv2d', 'transform_weight', 'use_winograd', 'winograd_conv3x3']

# Lavin & Gray 2016, interpolation points 0, ±1, ±2, ∞
_INPUT = torch.tensor([
    [4., 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
    [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
])  # fmt: skip
_KERNEL = torch.tensor([
    [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
])  # fmt: skip
_OUTPUT = torch.tensor([
    [1., 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1],
])  # fmt: skip
_INPUT_2D, _OUTPUT_2D = torch.kron(_INPUT, _INPUT), torch.kron(_OUTPUT, _OUTPUT)

SMALLEST = 64
"""Fewer input or output channels than this do not pay for the transforms."""
FEWEST_TILES = 8
"""Nor do fewer 4x4 tiles, which every transformed weight is read for."""


def transform_weight(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) → (36, O, I), stored as (36, I, O), which the matrix products read faster."""
    # in double precision: it happens once, and its error would be in every product
    wide = torch.einsum('ak,bl,oikl->aboi', _KERNEL.double(), _KERNEL.double(), weight.detach().double())
    return wide.reshape(36, *weight.shape[:2]).transpose(1, 2).to(weight.dtype).contiguous().transpose(1, 2)


def winograd_conv3x3(x: Tensor, transformed: Tensor, bias: Tensor | None = None) -> Tensor:
    """``conv2d(x, weight, bias, padding=1)`` with ``transformed = transform_weight(weight)``.

    Args:
        x: (B, I, h, w) float32.
        transformed: (36, O, I).
        bias: (O,).

    Returns:
        (B, O, h, w), channels-last.
    """
    batch, channels, height, width = x.shape
    rows, columns = -(-height // 4), -(-width // 4)
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 4 * columns + 1 - width, 1, 4 * rows + 1 - height))
    steps = padded.stride()
    tiles = padded.as_strided((6, 6, batch, rows, columns, channels),
                              (steps[1], steps[2], steps[0], 4 * steps[1], 4 * steps[2], steps[3]))  # fmt: skip
    count = batch * rows * columns
    spectrum = matmul(_INPUT_2D, tiles.reshape(36, -1)).reshape(36, count, channels)
    products = torch.stack([linear(s, w) for s, w in zip(spectrum, transformed)])
    blocks = matmul(_OUTPUT_2D, products.reshape(36, -1)).reshape(4, 4, batch, rows, columns, -1)
    y = blocks.permute(2, 3, 0, 4, 1, 5).reshape(batch, 4 * rows, 4 * columns, -1)[:, :height, :width]
    if bias is not None:
        y = y + bias
    return y.permute(0, 3, 1, 2)


class WinogradConv2d(nn.Conv2d):
    """``nn.Conv2d`` (3x3, padding 1) that predicts by :func:`winograd_conv3x3` on a CPU in fp32; trains as usual."""

    _remembered: tuple[tuple, Tensor] | None = None

    def _transformed_weight(self) -> Tensor:
        """The transformed weight, remembered until the weight changes in whatever way."""
        weight = self.weight.detach()
        # writes through ``.data`` (averaged weights are swapped in that way) leave the version alone, hence the sample
        mark = (weight.data_ptr(), self.weight._version, weight.reshape(-1)[::997].sum().item())
        if self._remembered is None or self._remembered[0] != mark:
            self._remembered = (mark, transform_weight(weight))
        return self._remembered[1]

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != '_remembered'}

    def forward(self, x: Tensor) -> Tensor:
        plain = torch.is_grad_enabled() or torch.compiler.is_compiling() or torch.is_autocast_enabled('cpu')
        if plain or type(x) is not Tensor or x.device.type != 'cpu' or x.dtype is not torch.float32:
            return super().forward(x)
        if len(x) * -(-x.shape[2] // 4) * -(-x.shape[3] // 4) < FEWEST_TILES:
            return super().forward(x)
        return winograd_conv3x3(x, self._transformed_weight(), self.bias)


def use_winograd(module: nn.Module) -> nn.Module:
    """Make every wide plain 3x3 convolution below ``module`` a :class:`WinogradConv2d`, in place."""
    for child in module.modules():
        if (
            type(child) is nn.Conv2d
            and child.kernel_size == (3, 3)
            and min(child.weight.shape[:2]) >= SMALLEST
        ):
            if (child.stride, child.padding, child.dilation, child.groups) == ((1, 1), (1, 1), (1, 1), 1):
                child.__class__ = WinogradConv2d
    return module
