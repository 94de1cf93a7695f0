"""Winograd's minimal filtering in plain PyTorch: 3x3 convolutions with fewer multiplications.

For prediction on a CPU, where oneDNN has no such kernel; a GPU's library has its own. In fp32 blocks of 4x4 pixels take
a quarter of the multiplications, four times the memory of the weights, and about 5e-6 of relative accuracy. In bfloat16
blocks of 2x2 take 4/9 of them, with twice the rounding error of a bfloat16 convolution. Hence an option
(``winograd=True`` of a decoder).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .gemm import linear, matmul

__all__ = [
    'WinogradConv2d', 'samples_at_once', 'tiles_of', 'transform_weight', 'use_winograd', 'windows', 'winograd_conv3x3',
]  # fmt: skip

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

# the same of 2x2 pixels, points 0, ±1, ∞
_INPUT_2 = torch.tensor([[1., 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
_KERNEL_2 = torch.tensor([[1., 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
_OUTPUT_2 = torch.tensor([[1., 1, 1, 0], [0, 1, -1, -1]])
_TRANSFORMS = {
    4: (_INPUT_2D, _KERNEL, _OUTPUT_2D),
    2: (torch.kron(_INPUT_2, _INPUT_2), _KERNEL_2, torch.kron(_OUTPUT_2, _OUTPUT_2)),
}

SMALLEST = 64
"""Fewer input or output channels than this do not pay for the transforms."""
FEWEST_TILES = 8
"""Nor do fewer blocks of pixels, which every transformed weight is read for."""


MOST_TILES = 192
"""More blocks at once are not faster, but take more memory."""


def transform_weight(weight: Tensor, block: int = 4) -> Tensor:
    """(O, I, 3, 3) → ((block + 2)², O, I), stored as (..., I, O), which the matrix products read faster."""
    # in double precision: it happens once, and its error would be in every product
    kernel = _TRANSFORMS[block][1].double()
    wide = torch.einsum('ak,bl,oikl->aboi', kernel, kernel, weight.detach().double())
    wide = wide.reshape(len(kernel) ** 2, *weight.shape[:2])
    return wide.transpose(1, 2).to(weight.dtype).contiguous().transpose(1, 2)


def tiles_of(x: Tensor, block: int = 4) -> int:
    """Blocks of ``block`` x ``block`` pixels that one sample of x (B, C, h, w) is cut into."""
    return -(-x.shape[2] // block) * -(-x.shape[3] // block)


def samples_at_once(x: Tensor, block: int = 4) -> int:
    """Samples of x (B, C, h, w) that have no more than :data:`MOST_TILES` blocks together; at least one."""
    return max(MOST_TILES // tiles_of(x, block), 1)


def windows(x: Tensor, side: int, step: int, border: int) -> Tensor:
    """Windows of ``side`` pixels at every ``step``-th pixel of x (B, C, h, w) with a border of zeros: (side², n, C)."""
    batch, channels, height, width = x.shape
    rows, columns = -(-height // step), -(-width // step)
    below, right = step * rows + border - height, step * columns + border - width
    padded = F.pad(x.permute(0, 2, 3, 1), (0, 0, border, right, border, below)).contiguous()
    steps = padded.stride()
    found = padded.as_strided((side, side, batch, rows, columns, channels),
                              (steps[1], steps[2], steps[0], step * steps[1], step * steps[2], steps[3]))  # fmt: skip
    return found.reshape(side * side, batch * rows * columns, channels)


def winograd_conv3x3(x: Tensor, transformed: Tensor, bias: Tensor | None = None) -> Tensor:
    """``conv2d(x, weight, bias, padding=1)`` with ``transformed = transform_weight(weight, block)``.

    Args:
        x: (B, I, h, w).
        transformed: (36, O, I) or, of blocks of 2x2 pixels, (16, O, I); of x's type.
        bias: (O,).

    Returns:
        (B, O, h, w), channels-last.
    """
    side = int(len(transformed) ** 0.5)
    block = side - 2
    samples = samples_at_once(x, block)
    if len(x) > samples:
        return torch.cat([winograd_conv3x3(part, transformed, bias) for part in x.split(samples)])
    enter, _, leave = (m.to(x.dtype) for m in _TRANSFORMS[block])
    batch, _, height, width = x.shape
    rows, columns = -(-height // block), -(-width // block)
    tiles = windows(x, side, block, 1)
    spectrum = matmul(enter, tiles.flatten(1)).view(tiles.shape)
    if x.dtype is torch.float32:
        products = torch.stack([linear(s, w) for s, w in zip(spectrum, transformed)])
    else:
        products = torch.bmm(spectrum, transformed.transpose(1, 2))
    blocks = matmul(leave, products.reshape(side**2, -1)).reshape(block, block, batch, rows, columns, -1)
    y = blocks.permute(2, 3, 0, 4, 1, 5).reshape(batch, block * rows, block * columns, -1)[:, :height, :width]
    if bias is not None:
        y = y + bias.to(y.dtype)
    return y.permute(0, 3, 1, 2)


class WinogradConv2d(nn.Conv2d):
    """``nn.Conv2d`` (3x3, padding 1) that predicts by :func:`winograd_conv3x3` on a CPU; trains as usual."""

    _remembered: tuple[tuple, Tensor] | None = None

    def _transformed_weight(self, dtype: torch.dtype) -> Tensor:
        """The transformed weight, remembered until the weight changes in whatever way."""
        weight = self.weight.detach()
        # writes through ``.data`` (averaged weights are swapped in that way) leave the version alone, hence the sample
        mark = (dtype, weight.data_ptr(), self.weight._version, weight.reshape(-1)[::997].sum().item())
        if self._remembered is None or self._remembered[0] != mark:
            self._remembered = (mark, transform_weight(weight, 4 if dtype is torch.float32 else 2).to(dtype))
        return self._remembered[1]

    def __getstate__(self) -> dict:
        return {k: v for k, v in self.__dict__.items() if k != '_remembered'}

    def forward(self, x: Tensor) -> Tensor:
        plain = torch.is_grad_enabled() or torch.compiler.is_compiling()
        if plain or type(x) is not Tensor or x.device.type != 'cpu':
            return super().forward(x)
        dtype = torch.get_autocast_dtype('cpu') if torch.is_autocast_enabled('cpu') else x.dtype
        if dtype not in (torch.float32, torch.bfloat16):
            return super().forward(x)
        block = 4 if dtype is torch.float32 else 2
        if len(x) * tiles_of(x, block) < FEWEST_TILES:
            return super().forward(x)
        return winograd_conv3x3(x.to(dtype), self._transformed_weight(dtype), self.bias)


def use_winograd(module: nn.Module, kind: type[WinogradConv2d] = WinogradConv2d) -> nn.Module:
    """Make every wide plain 3x3 convolution below ``module`` one of ``kind``, in place."""
    for child in module.modules():
        if (
            type(child) is nn.Conv2d
            and child.kernel_size == (3, 3)
            and min(child.weight.shape[:2]) >= SMALLEST
        ):
            if (child.stride, child.padding, child.dilation, child.groups) == ((1, 1), (1, 1), (1, 1), 1):
                child.__class__ = kind
    return module
