"""Parameters and multiply-accumulates of a network, part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from torch import nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    FakeTensor,
    FakeTensorMode,
    UnsupportedFakeTensorException,
)
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from mmmtl.apis.checkpoint import auxiliary_prefixes
from mmmtl.apis.convert import empty_network
from mmmtl.apis.model import build_model, forget_pretrained, quiet
from mmmtl.models.sizes import input_size
from mmmtl.ops.dispatch import traceable_operations
from mmmtl.utils.tables import format_table

from .published import published_line

_LAYERS = ('convolution', 'addmm', 'mm', '_linear_pointwise')
"""Operators of convolutions and linear layers; the remaining ones (bmm, attention) are products of activations."""


def _attention_flops(query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> int:
    """FLOPs of softmax(q kᵀ) v for tensors (B, heads, n, d)."""
    batch, heads, queries, width = query.shape
    return 2 * batch * heads * queries * key.shape[-2] * (width + value.shape[-1])


def _linear_flops(x: Any, weight: Any, *args: Any, **kwargs: Any) -> int:
    """FLOPs of x (..., K) times weight (N, K)."""
    return 2 * x.numel() * weight.shape[0]


_FORMULAS: dict[Any, Any] = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops}
"""torch's formulas know neither the attention kernels of CPUs nor oneDNN's linear layer."""
if hasattr(torch.ops.mkldnn, '_linear_pointwise'):
    _FORMULAS[torch.ops.mkldnn._linear_pointwise] = _linear_flops

REST = 'between the parts'
"""What is computed between the parts."""


@dataclass
class Part:
    """Counts of one part of a network.

    Attributes:
        parameters: Number of parameters.
        auxiliary: How many of them work in training alone.
        layers: Multiply-accumulates of convolutions and linear layers in one prediction.
        products: Those of products of activations: attention, einsum.
        moved: Bytes that its operators read and write, each by itself.
        convolutions: Calls of 3x3 convolutions.
    """

    parameters: int = 0
    auxiliary: int = 0
    layers: int = 0
    products: int = 0
    moved: int = 0
    convolutions: int = 0


@dataclass
class Complexity:
    """Counts of a network.

    Attributes:
        size: (H, W) of the input.
        parts: Part → counts; parts do not overlap.
    """

    size: tuple[int, int]
    parts: dict[str, Part] = field(default_factory=dict)

    def total(self) -> Part:
        """Sum over the parts."""
        whole = Part()
        for part in self.parts.values():
            for name in vars(whole):
                setattr(whole, name, getattr(whole, name) + getattr(part, name))
        return whole

    def table(self) -> str:
        """The counts as text, parameters in millions and multiply-accumulates in billions."""
        whole = self.total()
        rows = [[name, *_cells(part)] for name, part in self.parts.items()] + [['total', *_cells(whole)]]
        header = ['part', 'parameters M', 'of these training only M', 'conv + linear GMAC', 'attention, einsum GMAC']
        return (
            f'input {self.size[0]} x {self.size[1]}, one image\n\n'
            + format_table(header, rows, right=(1, 2, 3, 4))
            + f'\n\nparameters: {(whole.parameters - whole.auxiliary) / 1e6:.2f} M without auxiliary heads, '
            f'{whole.parameters / 1e6:.2f} M with ({whole.parameters - whole.auxiliary:,} and {whole.parameters:,})'
            f'\nmultiply-accumulates of one prediction: {(whole.layers + whole.products) / 1e9:.2f} G '
            f'({whole.layers / 1e9:.2f} G in convolutions and linear layers)'
        )


def _cells(part: Part) -> list[str]:
    return [
        f'{part.parameters / 1e6:.2f}',
        f'{part.auxiliary / 1e6:.2f}' if part.auxiliary else '',
        f'{part.layers / 1e9:.2f}',
        f'{part.products / 1e9:.2f}',
    ]


def count_complexity(cfg: Config, size: Sequence[int] | None = None) -> Complexity:
    """Count the network of a config, without allocating its weights where it can be avoided.

    Args:
        cfg: The config.
        size: (H, W) of the input; default :func:`input_size`.

    Returns:
        Counts of backbone, neck, and every child of the decoder; the multiply-accumulates are those of
        one prediction on one image in PyTorch's own operations, rearranged as they are here. What a processor's kernels
        make of them (Winograd's convolutions, bands that overlap) is not counted: the count is the same everywhere.
    """
    size = (size[0], size[-1]) if size is not None else input_size(cfg)
    forget_pretrained(cfg.model)
    with quiet():
        model = empty_network(cfg).eval()
    counts = Complexity(size, _parameters(model))
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):  # kernels that compute shapes alone
            _multiply_accumulates(model.to_empty(device='cpu'), counts)
    except (UnsupportedFakeTensorException, DataDependentOutputException) as error:
        print_log(f'counting with real weights, because {error} asks for numbers', logger='current')
        with quiet():
            model = build_model(cfg, initialize=False).eval()
        _multiply_accumulates(model, counts)
    return counts


def parts_of(model: nn.Module) -> list[str]:
    """Names of the parts: children of the model, and of its decoder."""
    names = []
    for name, child in model.named_children():
        if name == 'decoder':
            names += [f'decoder.{n}' for n, _ in child.named_children()]
        elif any(True for _ in child.parameters()):
            names.append(name)
    return names


def _parameters(model: nn.Module) -> dict[str, Part]:
    """Parameters by part; shared ones count once, where they come first."""
    parts = {name: Part() for name in parts_of(model)}
    auxiliary = auxiliary_prefixes(model)
    for name, parameter in model.named_parameters():
        home = next((p for p in parts if name.startswith(p + '.')), None)
        part = parts.setdefault(home or REST, Part())
        part.parameters += parameter.numel()
        if auxiliary and name.startswith(auxiliary):
            part.auxiliary += parameter.numel()
    return parts


def _multiply_accumulates(model: nn.Module, counts: Complexity) -> None:
    """Run one prediction and write the counts into the parts."""
    frames = getattr(model, 'frames', 1)
    shape = (1, 3, *counts.size) if frames == 1 else (1, frames, 3, *counts.size)
    with torch.no_grad(), traceable_operations(), _PartCounter(model, list(counts.parts)) as counter:
        model(torch.zeros(shape), mode='tensor')
    for name, (layers, products, moved, convolutions) in counter.counts.items():
        part = counts.parts.setdefault(name, Part())
        part.layers, part.products, part.moved, part.convolutions = layers, products, moved, convolutions


class _PartCounter(TorchDispatchMode):
    """Counts multiply-accumulates for the innermost part whose modules are at work.

    torch's own ``FlopCounterMode`` counts a part that is called inside another one for both.
    """

    def __init__(self, model: nn.Module, parts: Sequence[str]) -> None:
        super().__init__()
        self.counts: dict[str, list[int]] = {}
        self.at_work = [REST]
        self.home: dict[int, str] = {}
        for name, module in model.named_modules():
            part = next((p for p in parts if name == p or name.startswith(p + '.')), None)
            if part is not None:
                self.home[id(module)] = part
        self.hooks: list[Any] = []

    def __enter__(self) -> Any:
        self.hooks = [
            register_module_forward_pre_hook(lambda m, args: self._enter(m)),
            register_module_forward_hook(lambda m, args, out: self._leave(m), always_call=True),
        ]
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        for hook in self.hooks:
            hook.remove()
        super().__exit__(*error)

    def _enter(self, module: nn.Module) -> None:
        if id(module) in self.home:
            self.at_work.append(self.home[id(module)])

    def _leave(self, module: nn.Module) -> None:
        if id(module) in self.home:
            self.at_work.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operator = func._overloadpacket
        formula = _FORMULAS.get(operator) or flop_registry.get(operator)
        count = self.counts.setdefault(self.at_work[-1], [0, 0, 0, 0])
        if formula is not None:
            is_layer = str(operator).split('.')[-1] in _LAYERS
            count[0 if is_layer else 1] += formula(*args, **(kwargs or {}), out_val=out) // 2
        if not _gives_view(func):
            count[2] += sum(
                t.numel() * t.element_size() for t in tree_leaves((args, kwargs, out)) if type(t) in _TENSORS
            )
        if operator is torch.ops.aten.convolution and args[1].shape[2:] == (3, 3):
            count[3] += 1
        return out


_TENSORS = (torch.Tensor, nn.Parameter, FakeTensor)


def _gives_view(func: Any) -> bool:
    """Whether an operator touches no number: it gives a view, or memory without content."""
    aliases = [r.alias_info for r in func._schema.returns]
    return any(a is not None and not a.is_write for a in aliases) or 'empty' in func._schema.name


def complexity_report(cfg: Config, size: tuple[int, int] | None = None) -> str:
    """:func:`count_complexity` as text, with the published data flow's count where there is one."""
    counts = count_complexity(cfg, size)
    published = published_line(cfg, counts.size)
    return counts.table() + (f'\n{published}' if published else '')
