"""The kernels of ``mmmtl/ops`` each against its plain expression, at the shapes of the published networks.

What is faster by more than rounding of the clock goes into ``dispatch.json``, a table for ``MMMTL_OPS``.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.models.layers.basic_block import ResidualBranch
from mmmtl.ops import convolution, gemm, mixing, optimize_for_inference
from mmmtl.ops.attention import attend
from mmmtl.ops.dispatch import CPU_ALONE, KERNELS, forced_operations, plain_operations
from mmmtl.ops.enlarged import residual_head
from mmmtl.ops.low_rank import LowRankConv2d, gated_sum
from mmmtl.ops.norm_act import batch_norm_modulate
from mmmtl.ops.winograd_gradients import use_winograd_gradients
from mmmtl.utils.files import write_json

from .machine import tensor_float_32
from .rows import Rows, Setting, seconds_of

GAIN = 1.03
"""A kernel is chosen where the plain expression takes so many times its time."""


class Maker:
    """Random tensors and modules on a device, in a precision; sizes divided by ``shrink``."""

    def __init__(self, device: str, dtype: torch.dtype, shrink: int) -> None:
        self.device, self.dtype, self.shrink = device, dtype, shrink
        self.generator = torch.Generator().manual_seed(0)

    def width(self, channels: int) -> int:
        """Channels of the small run."""
        return max(channels // self.shrink, 8)

    def random(self, *shape: int, last: bool = True) -> Tensor:
        """Numbers of a normal distribution; four dimensions in channels-last memory."""
        x = torch.randn(shape, generator=self.generator).to(self.device, self.dtype)
        return convolution.as_channels_last(x) if last and len(shape) == 4 else x

    def map(self, batch: int, channels: int, side: int) -> Tensor:
        """(B, C, h, w)."""
        side = max(side // self.shrink, 8)
        return self.random(batch, self.width(channels), side, side)

    def module(self, module: nn.Module) -> Any:
        """The module there."""
        return module.to(self.device, self.dtype)


Case = tuple[Callable[..., Any], list[Any], nn.Module | None]
"""The function, its arguments, and a module whose parameters have gradients too; in training if there is one."""


def _attention(m: Maker) -> Case:
    shape = (1, m.width(256) // 16, max(1024 // m.shrink, 16), 64)
    q, k, v = (m.random(*shape, last=False) for _ in range(3))
    return attend, [q, k, v], None


def _matmul(m: Maker) -> Case:
    return gemm.matmul, [m.random(1024 // m.shrink, m.width(1024)), m.random(m.width(1024), 4096 // m.shrink)], None


def _winograd(m: Maker) -> Case:
    conv = optimize_for_inference(m.module(nn.Conv2d(m.width(512), m.width(512), 3, padding=1)))
    return conv, [m.map(5, 512, 64)], None


def _winograd_gradients(m: Maker) -> Case:
    layers = use_winograd_gradients(m.module(nn.Sequential(nn.Conv2d(m.width(512), m.width(512), 3, padding=1))))
    return layers, [m.map(6, 512, 32)], layers


def _prepared_weights(m: Maker) -> Case:
    layer = optimize_for_inference(nn.Linear(m.width(1024), m.width(1024)))

    def run(x: Tensor) -> Tensor:
        with torch.autocast(m.device, m.dtype, enabled=m.dtype is not torch.float32):
            return layer(x)

    return run, [m.random(1024 // m.shrink, m.width(1024))], None


def _group_norm(m: Maker) -> Case:
    return optimize_for_inference(m.module(nn.GroupNorm(8, m.width(320)))), [m.map(1, 320, 64)], None


def _mixing(m: Maker) -> Case:
    maps = [m.map(1, 376, 32) for _ in range(5)]
    relation = m.random(1, 25, *maps[0].shape[-2:], last=False).unflatten(1, (5, 5))
    return lambda r, *x: torch.stack(list(mixing.mix_maps(r, mixing.mixable(x)))), [relation, *maps], None


def _residual_branch(m: Maker) -> Case:
    branch = m.module(ResidualBranch(m.width(512), 2)).train()
    return branch, [m.map(6, 512, 64).relu()], branch


def _conv1x1(m: Maker) -> Case:
    return convolution.conv1x1, [m.map(1, 1504, 32), m.random(m.width(376), m.width(1504))], None


def _merged_convolution(m: Maker) -> Case:
    inner, outer = (
        m.module(nn.Conv2d(m.width(i), m.width(o), k, padding=k // 2)) for i, o, k in ((376, 376, 1), (376, 64, 3))
    )
    return lambda x: convolution.conv1x1_conv3x3(x, inner, outer), [m.map(1, 376, 128)], None


def _upsampled_convolution(m: Maker) -> Case:
    weight = m.random(m.width(376), m.width(376), 3, 3)
    return convolution.conv3x3_after_upsample, [m.map(1, 376, 32), weight], None


def _residual_head(m: Maker) -> Case:
    c = m.width(376)
    conv3, conv1, head = (m.module(nn.Conv2d(c, o, k, padding=k // 2)) for o, k in ((c, 3), (c, 1), (21, 3)))
    x, skip = m.map(1, 376, 32), m.map(1, 376, 32)
    return (lambda a, b: residual_head(a, b, conv3, nn.functional.gelu, conv1, head, 4, True)), [x, skip], None


def _low_rank(m: Maker) -> Case:
    pairs = [m.module(LowRankConv2d(m.width(452), max(rank // m.shrink, 2))) for rank in range(8, 68, 4)]
    return lambda x, g: gated_sum(x, pairs, g), [m.map(2, 452, 32), m.random(2, len(pairs))], None


def _norm_act(m: Maker) -> Case:
    norm, x = m.module(nn.BatchNorm2d(m.width(376))).float().train(), m.map(2, 376, 128)
    gain, offset = (torch.ones(1, x.shape[1], device=m.device, requires_grad=True) for _ in range(2))
    return lambda x: batch_norm_modulate(x, norm, gain, offset, True)[0], [x], norm


CASES: dict[str, Callable[[Maker], Case]] = {
    'attention': _attention,
    'matmul': _matmul,
    'winograd': _winograd,
    'winograd_gradients': _winograd_gradients,
    'prepared_weights': _prepared_weights,
    'group_norm': _group_norm,
    'bands': _residual_head,
    'mixing': _mixing,
    'residual_branch': _residual_branch,
    'conv1x1': _conv1x1,
    'merged_convolution': _merged_convolution,
    'upsampled_convolution': _upsampled_convolution,
    'residual_head': _residual_head,
    'low_rank': _low_rank,
    'norm_act': _norm_act,
}


def _runs(kernel: str, case: Case) -> tuple[Callable[[], Tensor], Callable[[], Tensor]]:
    """The plain expression and the kernel, forward or forward and backward."""
    function, arguments, module = case
    if module is not None:
        arguments = [a.detach().requires_grad_() for a in arguments]

    def run() -> Tensor:
        with torch.set_grad_enabled(module is not None):
            y = function(*arguments)
            if module is not None:
                y.sum().backward()
        return y.detach()

    def plain() -> Tensor:
        # 'bands' is a part of another kernel, which runs in both
        with forced_operations({'residual_head', 'upsampled_convolution'}) if kernel == 'bands' else plain_operations():
            return run()

    def fast() -> Tensor:
        more = {'bands': {'residual_head', 'upsampled_convolution'}}.get(kernel, set())
        with forced_operations({kernel, *more}):
            return run()

    return plain, fast


def measure(setting: Setting, rows: Rows) -> None:
    """A row for every kernel and precision, then the table."""
    chosen: dict[str, list[str]] = {}
    for kernel in KERNELS:
        if kernel in CPU_ALONE and setting.kind != 'cpu':
            continue
        for name, dtype in (('float32', torch.float32), ('bfloat16', torch.bfloat16)):
            what = dict(kernel=kernel, precision=name)
            with rows.trying(**what), tensor_float_32(False):
                case = CASES[kernel](Maker(setting.device, dtype, 8 if setting.tiny else 1))
                plain, fast = _runs(kernel, case)
                wanted, found = plain().double(), fast().double()
                seconds = seconds_of([plain, fast], setting.device, setting.repeats(20), 2.0, setting.repeats(2))
                use = seconds[0] > GAIN * seconds[1]
                rows.add(
                    **what,
                    plain_ms=1e3 * seconds[0],
                    kernel_ms=1e3 * seconds[1],
                    difference=((found - wanted).norm() / wanted.norm().clamp_min(1e-30)).item(),
                    use=use,
                )
                if use:
                    chosen.setdefault(kernel, []).append(name)
    table = {k: {setting.kind: chosen.get(k, [])} for k in KERNELS if k not in CPU_ALONE or setting.kind == 'cpu'}
    write_json(Path(setting.folder) / 'dispatch.json', table)
