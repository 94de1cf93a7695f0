"""Matrix products of single precision on a CPU, by the faster of PyTorch's two libraries.

PyTorch sends fp32 matrix products to MKL, whose kernels for AMD processors reach about half of the peak; oneDNN, which
PyTorch uses for convolutions, reaches the peak there. On an Intel processor MKL reaches it too, and is the faster one for
small, transposed and batched products: there, as elsewhere (GPU, other dtypes, autocast, ``torch.compile``), these
functions are PyTorch's own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import served

SMALLEST = 2**21
"""Products with fewer multiplications are not worth a library call of their own."""


def _supported() -> bool:
    """Whether this build of PyTorch has oneDNN's matrix product, and it works."""
    if not torch.backends.mkldnn.is_available():
        return False
    try:
        return torch.equal(_product(torch.ones(1, 1), torch.ones(1, 1), None), torch.ones(1, 1))
    except (AttributeError, RuntimeError, NotImplementedError):
        return False


def _dense(matrix: Tensor) -> Tensor:
    """The matrix, row by row or column by column without gaps; with gaps oneDNN falls back to a loop of scalars."""
    rows, columns = matrix.shape
    return matrix if matrix.stride() in ((columns, 1), (1, rows)) else matrix.contiguous()


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``x @ weight.T + bias`` by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(_dense(x), _dense(weight), bias, 'none', [], '')


_SUPPORTED: bool | None = None


def _chosen(x: Tensor, weight: Tensor) -> bool:
    global _SUPPORTED
    if not served('matmul', x) or weight.dtype is not torch.float32:
        return False
    if x.numel() * weight.shape[0] < SMALLEST or not torch.backends.mkldnn.enabled:
        return False
    if _SUPPORTED is None:
        _SUPPORTED = _supported()
    return _SUPPORTED


class _Linear(torch.autograd.Function):
    """x (M, K), weight (N, K), bias (N,) or None → (M, N)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        keep_x, keep_weight = ctx.needs_input_grad[1], ctx.needs_input_grad[0]
        ctx.save_for_backward(x if keep_x else None, weight if keep_weight else None)
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        dx = _product(dy, weight.t(), None) if ctx.needs_input_grad[0] else None
        dweight = _product(dy.t(), x.t(), None) if ctx.needs_input_grad[1] else None
        dbias = dy.sum(0) if ctx.needs_input_grad[2] else None
        return dx, dweight, dbias


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear``: x (..., K), weight (N, K), bias (N,) → (..., N)."""
    if not _chosen(x, weight):
        return F.linear(x, weight, bias)
    flat = x.reshape(-1, x.shape[-1])
    needs_grad = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)
    y = _Linear.apply(flat, weight, bias) if needs_grad else _product(flat, weight, bias)
    return y.reshape(*x.shape[:-1], -1)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` of two matrices (M, K) and (K, N)."""
    return linear(a, b.t()) if _chosen(a, b.t()) else a @ b


def batched_matmul(a: Tensor, b: Tensor) -> Tensor:
    """``a @ b`` of one matrix (M, K) and many (batch, K, N) → (batch, M, N)."""
    # as a convolution along N, which oneDNN computes at three times the speed of MKL's batched product
    return F.conv1d(b, a[:, :, None]) if len(b) >= 16 and _chosen(b, a) else torch.matmul(a, b)


def stacked_linear(x: Tensor, weights: Tensor) -> Tensor:
    """``F.linear`` of S matrices with a weight each: x (S, M, K), weights (S, N, K) → (S, M, N); keeps no gradient."""
    if not _chosen(x[0], weights[0]):
        return torch.bmm(x, weights.transpose(1, 2))
    y = x.new_empty(*x.shape[:2], weights.shape[1])
    for product, part, weight in zip(y, x, weights):
        product.copy_(_product(part, weight, None))
    return y


class FastLinear(nn.Linear):
    """``nn.Linear`` whose product goes through :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


def use_fast_linear(module: nn.Module) -> nn.Module:
    """Make every plain ``nn.Linear`` below ``module`` a :class:`FastLinear`, in place; parameters stay the same objects."""
    for child in module.modules():
        if type(child) is nn.Linear:
            child.__class__ = FastLinear
    return module
