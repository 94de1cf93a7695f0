"""Gradients of 3x3 convolutions by Winograd's F(4x4, 3x3), with a quarter of the multiplications: CPU, fp32.

The gradient for the input is a convolution with the turned kernel; that for the weight is summed in the transformed
domain, where it takes as few multiplications as the convolution. Both are linear, so their relative error of 1e-6 stays
what it is. The forward pass in training is the ordinary one: behind batch norms and ReLUs the same error grows a
hundredfold. Transformed weights are computed anew for every use: keeping them would take four times the weights' memory.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import served
from .gemm import linear, matmul
from .winograd import FP32, is_ordinary_3x3, samples_at_once, tiles_of, windows, winograd_conv3x3

_KERNEL = FP32.kernel.float()
SMALLEST = 64
"""Fewer input or output channels than this do not pay for the transforms."""
FEWEST_TILES = 192
"""Fewer tiles of 4x4 pixels than this do not pay for transforming the weights."""


def _pays(x: Tensor, weight: Tensor) -> bool:
    tiles = len(x) * tiles_of(x)
    fits = weight.dtype is torch.float32 and min(weight.shape[:2]) >= SMALLEST and tiles >= FEWEST_TILES
    return fits and served('winograd_gradients', x)


def _transformed(weight: Tensor) -> Tensor:
    """(O, I, 3, 3) → (36, O, I), stored as (36, I, O)."""
    out, into = weight.shape[:2]
    taps = weight.permute(2, 3, 1, 0).reshape(9, -1)
    return (_KERNEL @ taps).view(36, into, out).transpose(1, 2)


def direct_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of ``conv2d(x, weight, padding=1)`` for x and weight, each where it is needed, by the library."""
    dx, dweight, _ = torch.ops.aten.convolution_backward(
        dy, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [*needs, False]
    )
    return dx, dweight


def conv3x3_gradients(
    dy: Tensor, x: Tensor, weight: Tensor, needs: tuple[bool, bool]
) -> tuple[Tensor | None, Tensor | None]:
    """As :func:`direct_gradients`, by the cheaper route."""
    if not _pays(x, weight):
        return direct_gradients(dy, x, weight, needs)
    dx = winograd_conv3x3(dy, _transformed(weight.flip(2, 3).transpose(0, 1))) if needs[0] else None
    return dx, _weight_gradient(dy, x, weight) if needs[1] else None


def _weight_gradient(dy: Tensor, x: Tensor, weight: Tensor) -> Tensor:
    out, into = weight.shape[:2]
    products = weight.new_zeros(36, out, into)
    samples = samples_at_once(x)
    for dy_part, x_part in zip(dy.split(samples), x.split(samples)):
        tiles = windows(x_part, FP32.side, FP32.block, 1)
        seen = matmul(FP32.enter, tiles.reshape(36, -1)).view(tiles.shape)
        tiles = windows(dy_part, FP32.block, FP32.block, 0)
        told = matmul(FP32.leave.T, tiles.reshape(16, -1)).view(36, *tiles.shape[1:])
        for product, t, s in zip(products, told, seen):
            product += linear(t.T, s.T)
    return (_KERNEL.T @ products.view(36, -1)).view(3, 3, out, into).permute(2, 3, 0, 1)


class _Conv3x3(torch.autograd.Function):
    """x, weight, bias → conv2d(x, weight, bias, padding=1)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return F.conv2d(x, weight, bias, padding=1)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:  # type: ignore[override]
        x, weight = ctx.saved_tensors
        dx, dweight = conv3x3_gradients(dy, x, weight, ctx.needs_input_grad[:2])
        return dx, dweight, dy.sum((0, 2, 3)) if ctx.needs_input_grad[2] else None


class WinogradGradientConv2d(nn.Conv2d):
    """``nn.Conv2d`` (3x3, padding 1) whose gradients are computed by Winograd's convolutions (CPU, fp32)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, h, w) → (B, O, h, w)."""
        if not torch.is_grad_enabled() or not _pays(x, self.weight):
            return super().forward(x)
        return _Conv3x3.apply(x, self.weight, self.bias)


def use_winograd_gradients(module: nn.Module) -> nn.Module:
    """Make every wide plain 3x3 convolution below ``module`` a :class:`WinogradGradientConv2d`, in place."""
    for child in module.modules():
        if type(child) is nn.Conv2d and is_ordinary_3x3(child) and min(child.weight.shape[:2]) >= SMALLEST:
            child.__class__ = WinogradGradientConv2d
    return module
