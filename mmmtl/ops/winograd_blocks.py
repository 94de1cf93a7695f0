"""Blocks around Winograd's convolutions for prediction: what is linear is folded into their weights, the rest follows block
by block while the results are in the cache."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import merge_pointwise
from .dispatch import precision
from .inference import InferenceForm, inference_form_of
from .winograd import BorderField, WinogradConv2d, convolves, preparation, prepare_weight, prepared_conv3x3


def _watched(module: nn.Module) -> bool:
    """Whether somebody asks for the results of the parts, which folded blocks do not have."""
    return any(m._forward_hooks or m._forward_pre_hooks for m in module.modules() if m is not module)


@inference_form_of('mmmtl.models.layers.basic_block.BasicBlock')
class FoldedBasicBlock(InferenceForm):
    """A residual block whose batch norms are part of its convolutions."""

    built_on = ('WinogradConv2d',)
    conv1: nn.Conv2d
    bn1: nn.BatchNorm2d
    conv2: nn.Conv2d
    bn2: nn.BatchNorm2d
    shortcut: nn.Module | None

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether both convolutions may go by Winograd's algorithm, and both norms have statistics of their own."""
        norms = (module.bn1, module.bn2)
        kinds = (nn.BatchNorm2d, nn.SyncBatchNorm)
        plain = all(type(n) in kinds and n.track_running_stats and n.affine for n in norms)
        return plain and WinogradConv2d.fits(module.conv1) and WinogradConv2d.fits(module.conv2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, h, w) → (B, C', h, w), not negative."""
        statistics = self.bn1.training or self.bn2.training
        if statistics or not convolves(x, self.conv1.weight) or _watched(self):
            return super().forward(x)
        x = x.to(precision(x))
        y = self._folded(self.conv1, self.bn1, x, None)
        return self._folded(self.conv2, self.bn2, y, x if self.shortcut is None else self.shortcut(x))

    def _folded(self, conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, plus: Tensor | None) -> Tensor:
        def fold() -> tuple[Tensor, Tensor]:
            gain = norm.weight.double() * (norm.running_var.double() + norm.eps).rsqrt()
            offset = norm.bias.double() - norm.running_mean.double() * gain
            if conv.bias is not None:
                offset = offset + conv.bias.double() * gain
            weight = conv.weight.detach().double() * gain[:, None, None, None]
            return prepare_weight(weight, x), offset.float()

        sources = [conv.weight, norm.weight, norm.bias, norm.running_mean, norm.running_var]
        sources += [] if conv.bias is None else [conv.bias]
        prepared, offset = self.remember((conv is self.conv1, *preparation(x)), sources, fold)
        return prepared_conv3x3(x, prepared, offset, plus, relu=True)


def _groups(layers: nn.Sequential) -> Iterator[tuple[nn.Conv2d | None, nn.Module, bool]]:
    """``(1x1 convolution that is merged, layer, whether a ReLU follows it)`` of a row of layers."""
    rest = list(layers)
    while rest:
        layer, inner = rest.pop(0), None
        if rest and _pointwise(layer) and WinogradConv2d.fits(rest[0]) and _merging_pays(layer, rest[0]):
            inner, layer = layer, rest.pop(0)
        relu = bool(rest) and WinogradConv2d.fits(layer) and type(rest[0]) is nn.ReLU
        if relu:
            rest.pop(0)
        yield inner, layer, relu  # type: ignore[misc]


def _pointwise(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv2d):
        return False
    return (layer.kernel_size, layer.stride, layer.padding, layer.groups) == ((1, 1), (1, 1), (0, 0), 1)


def _merging_pays(inner: nn.Module, outer: nn.Module) -> bool:
    into, middle, out = inner.in_channels, inner.out_channels, outer.out_channels  # type: ignore[union-attr]
    return bool(9 * into * out < 4 * into * middle + 9 * middle * out)


def _border(form: InferenceForm, inner: nn.Conv2d, outer: nn.Conv2d, x: Tensor) -> BorderField:
    """What the biases of both add: (1, O, h, w). Through the zero padding the inner one reaches fewer taps at the border."""
    small = (min(x.shape[2], 3), min(x.shape[3], 3))  # the first, any inner, and the last line

    def field() -> Tensor:
        reached = torch.einsum('omkl,m->okl', outer.weight.double(), inner.bias.double())[:, None]  # type: ignore[union-attr]
        bias = None if outer.bias is None else outer.bias.double()
        return F.conv2d(reached.new_ones(1, 1, *small), reached, bias, padding=1).to(outer.weight.dtype)

    sources = [t for t in (outer.weight, outer.bias, inner.bias) if t is not None]
    return BorderField(form.remember((id(outer), small), sources, field), (x.shape[2], x.shape[3]))


@inference_form_of(nn.Sequential)
class FoldedSequential(InferenceForm):
    """Layers in a row: a 1x1 convolution is merged into the wide 3x3 one behind it, and a ReLU done with it."""

    built_on = ('WinogradConv2d',)

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether there is anything to fold."""
        return isinstance(module, nn.Sequential) and any(
            inner is not None or relu for inner, _, relu in _groups(module)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map → map."""
        first = next(p for p in self.parameters())
        if not isinstance(x, Tensor) or not convolves(x, first) or _watched(self):
            return super().forward(x)
        for place, (inner, layer, relu) in enumerate(_groups(self)):  # type: ignore[arg-type]
            if inner is None and not relu:
                x = layer(x)
            else:
                x = self._convolved(place, inner, layer, x.to(precision(x)), relu)  # type: ignore[arg-type]
        return x

    def _convolved(self, place: int, inner: nn.Conv2d | None, outer: nn.Conv2d, x: Tensor, relu: bool) -> Tensor:
        def prepare() -> Tensor:
            weight = outer.weight.detach()
            if inner is not None:
                weight = merge_pointwise(weight.double(), inner.weight.detach().double())
            return prepare_weight(weight, x)

        sources = [outer.weight] if inner is None else [outer.weight, inner.weight]
        prepared = self.remember((place, *preparation(x)), sources, prepare)
        if inner is None or inner.bias is None:
            return prepared_conv3x3(x, prepared, outer.bias, relu=relu)
        field, size = _border(self, inner, outer, x)
        return prepared_conv3x3(x, prepared, None, BorderField(field.to(x.dtype), size), relu)


@inference_form_of('mmmtl.models.taskdiffusion.conditions.ConvConditions')
class FoldedConditions(InferenceForm):
    """Two convolutional blocks per level and task: the first convolutions of all tasks, which see one map, are one product;
    norms are part of the convolutions; the 1x1 convolution between the blocks is merged into the second one."""

    built_on = ('WinogradConv2d',)
    levels: nn.ModuleList

    @classmethod
    def fits(cls, module: nn.Module) -> bool:
        """Whether the convolutions may go by Winograd's algorithm."""
        blocks = [b for row in module.levels for pair in row.values() for b in pair]  # type: ignore[union-attr]
        return bool(blocks) and all(WinogradConv2d.fits(b.conv3) and b.norm.film is None and b.norm.act for b in blocks)

    def forward(self, levels: list[Tensor], noise: object = None) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """X^l (B, E, h, w) → per level F_i^s (B, E, h, w) of every task, and no losses."""
        x = levels[0]
        if not convolves(x, next(self.parameters())) or _watched(self) or any(m.training for m in self.modules()):
            return super().forward(levels, noise)
        return [self._level(number, x.to(precision(x))) for number, x in enumerate(levels)], {}

    def _level(self, number: int, x: Tensor) -> list[Tensor]:
        pairs = list(self.levels[number].values())  # type: ignore[operator]
        sources = [t for pair in pairs for t in (*pair.parameters(), *pair.buffers()) if t.is_floating_point()]
        first, offset, second = self.remember((number, *preparation(x)), sources, lambda: _conditions(pairs, x))
        hidden = torch.ops.aten.gelu_(prepared_conv3x3(x, first, offset)).chunk(len(pairs), 1)
        found = []
        for pair, y, (weight, gain, shift) in zip(pairs, hidden, second):
            field, size = _border(self, pair[0].conv1, pair[1].conv3, x)
            around = BorderField((field * gain[:, None, None] + shift[:, None, None]).to(x.dtype), size)
            found.append(pair[1].conv1(torch.ops.aten.gelu_(prepared_conv3x3(y, weight, None, around))))
        return found


def _conditions(pairs: list[nn.Module], x: Tensor) -> tuple[Tensor, Tensor, list[tuple[Tensor, Tensor, Tensor]]]:
    """Prepared first weights of all tasks and their offset; per task the merged second one, its gain and its offset."""
    gains = [[row[0] for row in block.norm.film_parameters()] for pair in pairs for block in pair]  # type: ignore[attr-defined]
    firsts, seconds = gains[::2], gains[1::2]
    weight = torch.cat([p[0].conv3.weight.double() * g[:, None, None, None] for p, (g, _) in zip(pairs, firsts)])  # type: ignore[index]
    offset = torch.cat([p[0].conv3.bias * g + o for p, (g, o) in zip(pairs, firsts)])  # type: ignore[index]
    merged = []
    for pair, (gain, shift) in zip(pairs, seconds):
        whole = merge_pointwise(pair[1].conv3.weight.double(), pair[0].conv1.weight.double())  # type: ignore[index]
        merged.append((prepare_weight(whole * gain[:, None, None, None], x), gain, shift))
    return prepare_weight(weight, x), offset, merged
