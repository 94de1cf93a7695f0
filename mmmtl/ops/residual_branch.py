"""Residual blocks in a row, which keep two maps per block for the backward pass instead of four.

The activated maps are recomputed from the convolutions' outputs and the batch statistics, at the cost of a few passes over
memory; numbers are those of the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import precision, served
from .winograd_gradients import WinogradGradientConv2d, conv3x3_gradients, direct_gradients


def keeps_fewer_maps(blocks: nn.Sequential, x: Tensor) -> bool:
    """Whether :func:`residual_branch` takes its own way: in training, without autocast and shared statistics."""
    if not len(blocks) or not blocks.training or not torch.is_grad_enabled() or not served('residual_branch', x):
        return False
    # under autocast a map may have the product's precision already, while the weights still have their own
    if not precision(x) == x.dtype == next(blocks.parameters()).dtype:
        return False
    norms = [n for block in blocks for n in (block.bn1, block.bn2)]
    if any(type(n) not in (nn.BatchNorm2d, nn.SyncBatchNorm) or not n.track_running_stats for n in norms):
        return False
    if not all(n.training for n in norms):
        return False
    # a synchronised norm is an ordinary one where there is nobody to share statistics with
    alone = not (dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1)
    return alone or all(type(n) is nn.BatchNorm2d for n in norms)


def residual_branch(blocks: nn.Sequential, x: Tensor) -> Tensor:
    """``for block in blocks: x = block(x)``, with fewer maps kept.

    Args:
        blocks: Blocks ``relu(x + bn2(conv2(relu(bn1(conv1(x))))))`` with 3x3 convolutions without bias.
        x: (B, C, h, w), not negative.
    """
    if not keeps_fewer_maps(blocks, x):
        for block in blocks:
            x = block(x)
        return x
    pairs = [p for b in blocks for p in ((b.conv1, b.bn1), (b.conv2, b.bn2))]
    with torch.no_grad():
        for _, norm in pairs:
            norm.num_batches_tracked.add_(1)
    parameters = [t for conv, norm in pairs for t in (conv.weight, norm.weight, norm.bias)]
    return _Branch.apply(x, [_Layer(conv, norm) for conv, norm in pairs], *parameters)


class _Layer:
    """What a convolution and its norm are besides their parameters."""

    def __init__(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        self.norm = norm
        self.gradients = conv3x3_gradients if isinstance(conv, WinogradGradientConv2d) else direct_gradients
        self.momentum = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)


def _normalised(y: Tensor, gain: Tensor, offset: Tensor, mean: Tensor, inverse: Tensor) -> Tensor:
    slope = gain * inverse
    return torch.addcmul((offset - mean * slope)[:, None, None], y, slope[:, None, None])


class _Branch(torch.autograd.Function):
    """x and, per convolution, its weight and its norm's weight and bias → the branch's output.

    Kept: x, the output of every convolution, the statistics.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, layers: Sequence[_Layer], *parameters: Tensor) -> Tensor:
        kept, current, inner = [x], x, x
        for i, layer in enumerate(layers):
            weight, gain, offset = parameters[3 * i : 3 * i + 3]
            y, norm = F.conv2d(inner, weight, padding=1), layer.norm
            out, mean, inverse = torch.native_batch_norm(
                y, gain, offset, norm.running_mean, norm.running_var, True, layer.momentum, norm.eps
            )
            if i % 2:
                out.add_(current)
            inner = out.relu_()
            if i % 2:
                current = inner
            kept += [y, mean, inverse]
        ctx.layers = layers
        ctx.save_for_backward(*kept, *parameters)
        return current

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple:  # type: ignore[override]
        layers, count = ctx.layers, len(ctx.layers)
        saved = ctx.saved_tensors
        x, parameters = saved[0], saved[1 + 3 * count :]

        def again(i: int) -> Tensor:
            y, mean, inverse = saved[1 + 3 * i : 4 + 3 * i]
            gain, offset = parameters[3 * i + 1 : 3 * i + 3]
            return _normalised(y, gain, offset, mean, inverse)

        blocks = [x]  # input of every block, and the output of the last
        for i in range(1, count, 2):
            blocks.append(again(i).add_(blocks[-1]).relu_())
        gradients: list[Tensor | None] = [None] * (3 * count)
        for i in range(count - 1, -1, -1):
            weight, gain, _ = parameters[3 * i : 3 * i + 3]
            y, mean, inverse = saved[1 + 3 * i : 4 + 3 * i]
            if i % 2:
                grad = grad * (blocks.pop() > 0)
                around, inner = grad, again(i - 1).relu_()
            else:
                grad, inner = grad * (inner > 0), blocks[-1]
            dy, gradients[3 * i + 1], gradients[3 * i + 2] = torch.ops.aten.native_batch_norm_backward(
                grad, y, gain, None, None, mean, inverse, True, layers[i].norm.eps, [True, True, True]
            )
            needs = (i > 0 or ctx.needs_input_grad[0], ctx.needs_input_grad[2 + 3 * i])
            grad, gradients[3 * i] = layers[i].gradients(dy, inner, weight, needs)
            if i % 2 == 0:
                grad = around if grad is None else grad.add_(around)
        return (grad if ctx.needs_input_grad[0] else None, None, *gradients)
