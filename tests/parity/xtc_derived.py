"""A slow second derivation of one training step with cross-task consistency: pair by pair, in batches of one.

Recorded gradients of this method can't show an error of 1e-3: single precision itself moves them by percents, because the
deepest maps of the recorded sizes have as few as two positions to normalise over. So the program's gradients are held
against this derivation too, in double precision, where they agree to many digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.models import MultiTaskModel
from mmmtl.models.xtc.mapping import joint_label, pair_index
from mmmtl.tasks import IGNORE

DERIVED = 1e-6
"""Largest difference of an element, relative to the largest of its tensor."""


def joint_source(name: str, task: Any, raw: Tensor, uniform: Tensor | None) -> Tensor:
    """A prediction (1, C, H, W) in the joint space: a drawn class, a share of the largest depth, a direction in [0, 1]."""
    if task.categorical and uniform is not None:
        gumbel = -torch.log(-torch.log1p(-uniform))
        soft = torch.softmax(torch.log_softmax(raw, 1) + gumbel, 1)
        hard = F.one_hot(soft.argmax(1), raw.shape[1]).movedim(-1, 1)
        return soft + (hard - soft).detach()
    if name == 'depth':
        return raw / (raw.max() + 1e-12)
    return (raw / raw.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12) + 1) / 2


def consistency(
    decoder: Any, maps: Mapping[str, Tensor], targets: Mapping[str, Any], anchors: Tensor, draws: Mapping[str, Tensor]
) -> Tensor:
    """The sum of l(s, t) over images and pairs, with batch norm and the pair's scale one after the other.

    Args:
        decoder: The :class:`~mmmtl.models.xtc.decoder.XTC` whose parameters are used.
        maps: Raw predictions ``{task: (B, C, h, w)}``.
        targets: ``{task: (images, labels)}``.
        anchors: The backbone's deepest map, (B, C, h, w).
        draws: ``{'gumbel.SOURCE.TARGET': (B, C, H, W)}`` in [0, 1).
    """
    names, total = list(decoder.tasks), anchors.new_zeros(())
    size = next(iter(targets.values()))[1].shape[-2:]

    def unit(part: Any, x: Tensor, pair: int) -> Tensor:
        norm = part.norm
        z = F.batch_norm(part.conv(x), norm.running_mean, norm.running_var, norm.weight, norm.bias, True, 0.1)
        if part.pairs:
            one_hot = torch.zeros(part.pairs, dtype=x.dtype)
            one_hot[pair] = 1
            z = z * (part.gamma @ one_hot)[:, None, None] + (part.beta @ one_hot)[:, None, None]
        return F.relu(z)

    def mapped(name: str, x: Tensor, pair: int) -> Tensor:
        x = unit(decoder.mapping.inputs[name], x, pair)
        for level in decoder.mapping.levels:
            for part in level:
                x = unit(part, x, pair)
            x = F.max_pool2d(x, 2)
        return x

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return 1 - F.cosine_similarity(a, b, dim=1, eps=1e-12).mean()

    for b in range(len(anchors)):
        rows = {n: i.tolist().index(b) for n, (i, _) in targets.items() if b in i.tolist()}
        for s in names:
            for t in names:
                if s == t or t not in rows or (s in rows and len(rows) < len(names)):
                    continue
                raw = F.interpolate(maps[s][b : b + 1], size, mode='bilinear', align_corners=False)
                draw = draws.get(f'gumbel.{s}.{t}')
                pair = pair_index(names.index(s), names.index(t), len(names))
                source = joint_source(s, decoder.tasks[s], raw, None if draw is None else draw[b : b + 1].to(raw))
                label = joint_label(decoder.tasks[t], targets[t][1][rows[t] : rows[t] + 1]).to(raw)
                source, target, f = mapped(s, source, pair), mapped(t, label, pair), anchors[b : b + 1]
                total = total + distance(source, target)
                total = total + decoder.feature_weight * (distance(source, f) + distance(target, f))
    return total


def _host(model: MultiTaskModel, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
    """Raw maps and the deepest map of a SegNet, with batch norm by its formula."""

    def unit(part: Any, x: Tensor) -> Tensor:
        x = F.conv2d(x, part.conv.weight, part.conv.bias, padding=1)
        mean = x.mean((0, 2, 3), keepdim=True)
        variance = (x - mean).square().mean((0, 2, 3), keepdim=True)
        weight, bias = (p[:, None, None] for p in (part.norm.weight, part.norm.bias))
        return ((x - mean) / (variance + part.norm.eps).sqrt() * weight + bias).clamp_min(0)

    places = []
    for level in model.backbone.encoder:
        for part in level:
            x = unit(part, x)
        x, place = F.max_pool2d(x, 2, return_indices=True)
        places.append(place)
    deepest = x
    for level in reversed(model.backbone.decoder):
        x = F.max_unpool2d(x, places.pop(), 2)
        for part in level:
            x = unit(part, x)
    return {name: head(x) for name, head in model.decoder.decoder.heads.items()}, deepest


def _supervised(name: str, raw: Tensor, label: Tensor) -> Tensor:
    """Loss of one image, the mean over its known pixels."""
    if name == 'semseg':
        return F.nll_loss(raw.log_softmax(1), label, ignore_index=IGNORE)
    known = ~torch.isnan(label).any(1)
    if name == 'depth':
        return (raw[:, 0][known] - label[:, 0][known]).abs().mean()
    direction = raw / raw.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12)
    return 1 - (direction * label.nan_to_num(0.0)).sum(1)[known].mean()


def gradients(
    model: MultiTaskModel, images: Tensor, targets: Mapping[str, Any], draws: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Gradients of the whole step for every parameter: the first half of the batch is supervised, the second compared.

    Args:
        model: A SegNet with :class:`~mmmtl.models.xtc.decoder.XTC` over two views, in double precision.
        images: (2 B, 3, H, W), both views.
        targets: ``{task: (rows of both views, labels)}``.
        draws: See :func:`consistency`.
    """
    model.zero_grad()
    count = len(images) // 2
    raw, deepest = _host(model, images)
    total = images.new_zeros(())
    for name, (rows, labels) in targets.items():
        for row, label in zip(rows.tolist(), labels):
            if row < count:
                total = total + _supervised(name, raw[name][row : row + 1], label[None]) / count
    later = {n: (i[i >= count] - count, y[i >= count]) for n, (i, y) in targets.items()}
    second, decoder = {n: x[count:] for n, x in raw.items()}, model.decoder
    compared = consistency(decoder, second, later, deepest[count:].detach(), draws)
    (total + decoder.weight * compared / count).backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
