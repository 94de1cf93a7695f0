"""Batch normalisation, per-sample affine and GELU as one differentiable operation that keeps only its input.

Plain autograd keeps the normalised map, the modulated map and the activated map; here the backward pass recomputes them
from the input and the batch statistics, which are exact. Statistics are shared between processes when the norm is a
``SyncBatchNorm`` (also on CPUs, where PyTorch's own layer refuses to run).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .dispatch import predicting, served
from .precision import to_float32

_frozen = False


@contextlib.contextmanager
def frozen_statistics() -> Iterator[None]:
    """Within it, running statistics are not updated (a checkpointed forward pass that runs a second time)."""
    global _frozen
    before, _frozen = _frozen, True
    try:
        yield
    finally:
        _frozen = before


def statistics_are_frozen() -> bool:
    """Whether running statistics are to stay as they are (:func:`frozen_statistics`)."""
    return _frozen


def _per_channel(rows: Tensor, like: Tensor) -> Tensor:
    return rows[:, :, None, None].to(like.dtype)


def modulate(x: Tensor, gain: Tensor, offset: Tensor, act: bool) -> Tensor:
    """``act(x · gain + offset)`` with rows (1 or B, C); overwrites ``x`` where no gradient is recorded."""
    gain, offset = _per_channel(gain, x), _per_channel(offset, x)
    if not predicting():
        y = torch.addcmul(offset, x, gain)
        return F.gelu(y) if act else y
    x.mul_(gain).add_(offset)
    return torch.ops.aten.gelu_(x) if act else x


def _all_reduce(group: Any, *sums: Tensor) -> list[Tensor]:
    packed = torch.cat([s.reshape(-1) for s in sums])
    dist.all_reduce(packed, group=group)
    return [part.reshape(s.shape) for part, s in zip(packed.split([s.numel() for s in sums]), sums)]


class _Group:
    """A process group as a non-tensor argument; ``None`` inside means the default group."""

    def __init__(self, group: Any) -> None:
        self.group = group


class _BatchNormModulate(torch.autograd.Function):
    """x (B, C, h, w), gain and offset (1 or B, C) float32 → (act(xhat·gain + offset), mean (C,), 1/std (C,), count)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, offset: Tensor, eps: float, act: bool, group: Any) -> Tensor:
        shared = gain.shape[0] == 1
        count = torch.tensor(x.numel() // x.shape[1], dtype=gain.dtype, device=x.device)
        if group is not None:
            exact = to_float32(x)
            total, squares, count = _all_reduce(group.group, exact.sum((0, 2, 3)), exact.square().sum((0, 2, 3)), count)
            mean = total / count
            inverse = torch.rsqrt((squares / count - mean.square()).clamp_min(0) + eps)
            out = (x - _per_channel(mean[None], x)) * _per_channel(inverse[None], x)
        elif shared:
            out, mean, inverse = torch.native_batch_norm(x, gain[0], offset[0], None, None, True, 0.0, eps)
        else:
            out, mean, inverse = torch.native_batch_norm(x, None, None, None, None, True, 0.0, eps)
        if group is not None or not shared:
            out.mul_(_per_channel(gain, x)).add_(_per_channel(offset, x))
        if act:
            torch.ops.aten.gelu_(out)
        ctx.save_for_backward(x, gain, offset, mean, inverse, count)
        ctx.eps, ctx.act, ctx.group = eps, act, group
        ctx.mark_non_differentiable(mean, inverse, count)
        return out, mean, inverse, count

    @staticmethod
    def backward(ctx: Any, dy: Tensor, *_: Any) -> tuple[Tensor | None, ...]:
        x, gain, offset, mean, inverse, count = ctx.saved_tensors
        if ctx.act:
            # xhat·gain + offset = x·(gain/std) + (offset - mean·gain/std)
            slope = gain * inverse
            before = torch.addcmul(_per_channel(offset - mean * slope, x), x, _per_channel(slope, x))
            dy = torch.ops.aten.gelu_backward(dy, before)
            del before
        if ctx.group is None and gain.shape[0] == 1:
            dx, dgain, doffset = torch.ops.aten.native_batch_norm_backward(
                dy, x, gain[0], None, None, mean, inverse, True, ctx.eps, [True, True, True]
            )
            return dx, dgain[None], doffset[None], None, None, None
        xhat = (x - _per_channel(mean[None], x)).mul_(_per_channel(inverse[None], x))
        rows_doffset, rows_dgain = to_float32(dy).sum((2, 3)), to_float32(dy * xhat).sum((2, 3))
        dgain, doffset = rows_dgain, rows_doffset
        if gain.shape[0] == 1:
            dgain, doffset = dgain.sum(0, keepdim=True), doffset.sum(0, keepdim=True)
        # gradient of the normalised map: its mean, and its mean along xhat, do not pass the statistics
        level, slope = (gain * rows_doffset).sum(0), (gain * rows_dgain).sum(0)
        if ctx.group is not None:
            level, slope = _all_reduce(ctx.group.group, level, slope)
        dx = (dy * _per_channel(gain, x)).sub_(_per_channel((level / count)[None], x))
        dx.sub_(xhat.mul_(_per_channel((slope / count)[None], x))).mul_(_per_channel(inverse[None], x))
        return dx, dgain, doffset, None, None, None


def batch_norm_modulate(x: Tensor, norm: nn.Module, gain: Tensor, offset: Tensor, act: bool) -> Tensor:
    """Normalise by the batch's statistics, modulate, activate; updates the running statistics of ``norm``.

    Args:
        x: (B, C, h, w).
        norm: ``BatchNorm2d`` or ``SyncBatchNorm`` in training mode; its affine is part of ``gain`` and ``offset``.
        gain, offset: float32 (1 or B, C).
        act: Apply GELU.
    """
    if x.numel() == x.shape[1]:
        raise ValueError(
            f'batch normalisation in training needs more than one value per channel, got {tuple(x.shape)}: '
            'use a larger image or batch'
        )
    group = None
    if (
        isinstance(norm, nn.SyncBatchNorm)
        and dist.is_available()
        and dist.is_initialized()
        and dist.get_world_size() > 1
    ):
        group = _Group(norm.process_group)
    momentum, tracked = 0.0, norm.track_running_stats and not _frozen
    if tracked:
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            momentum = norm.momentum if norm.momentum is not None else 1.0 / float(norm.num_batches_tracked)
    if group is None and not served('norm_act', x):
        mean, variance = (norm.running_mean, norm.running_var) if tracked else (None, None)
        y = F.batch_norm(x, mean, variance, training=True, momentum=momentum, eps=norm.eps)
        y = torch.addcmul(_per_channel(offset, x), y, _per_channel(gain, x))
        return F.gelu(y) if act else y
    y, mean, inverse, count = _BatchNormModulate.apply(x, gain, offset, norm.eps, act, group)
    if tracked:
        with torch.no_grad():
            variance = (inverse.square().reciprocal() - norm.eps) * (count / (count - 1))
            norm.running_mean.lerp_(mean.to(norm.running_mean), momentum)
            norm.running_var.lerp_(variance.to(norm.running_var), momentum)
    return y
