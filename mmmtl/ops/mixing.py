"""Sums of maps, each weighted at every position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from .dispatch import predicting, served

Maps: TypeAlias = Tensor | Sequence[Tensor]
"""Maps (B, C, h, w) in a list, or stacked (n, B, C, h, w)."""


def weighted_sum(maps: Sequence[Tensor], weights: Tensor) -> Tensor:
    """``sum(weights[:, i : i + 1] * maps[i])``.

    Args:
        maps: n maps (B, C, h, w).
        weights: (B, n, h, w).
    """
    total = maps[0] * weights[:, :1]
    for i, x in enumerate(maps[1:], 1):
        weight = weights[:, i : i + 1]
        total = total.addcmul_(weight, x) if predicting() else torch.addcmul(total, weight, x)
    return total


def mixable(maps: Sequence[Tensor]) -> Maps:
    """The maps in the form in which :func:`mix_maps` is fastest; worth it where they are mixed several times."""
    if served('mixing', maps[0]):
        return maps
    return torch.stack([x.permute(0, 2, 3, 1) for x in maps]).permute(0, 1, 4, 2, 3)


def mix_maps(relation: Tensor, maps: Maps) -> Maps:
    """``U[s] = sum over p of relation[:, s, p] * maps[p]``.

    Args:
        relation: (B, S, P, h, w): target, source.
        maps: P maps (B, C, h, w), or what :func:`mixable` made of them.

    Returns:
        S maps.
    """
    relation = relation.to(maps[0].dtype)
    if isinstance(maps, Tensor):
        return torch.einsum('bsphw,pbchw->sbchw', relation, maps)
    # a CPU has no fast kernel for a batch of tiny matrix products; written out, the sum runs at memory speed
    return [weighted_sum(maps, weights) for weights in relation.unbind(1)]
