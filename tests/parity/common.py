"""What the replays of different methods share."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from mmmtl.registry import TASKS
from mmmtl.tasks import IGNORE

Result = tuple[str, float, float]
"""Quantity, difference, tolerance."""

OUTPUT, LOSS, GRADIENT = 1e-5, 1e-5, 1e-3


def published_task(published: str, **options: Any) -> Any:
    """The task that published code calls ``published``."""
    TASKS.import_from_location()
    for kind in TASKS.module_dict.values():
        if published == kind.default_name or published in kind.aliases:
            return kind(**options)
    raise ValueError(f"no task is published as '{published}'")


def label_of(task: Any, label: Tensor, unknown: float = IGNORE) -> Tensor:
    """A recorded float map (n, C, H, W) with ``unknown`` where invalid → the form labels have here."""
    if task.categorical:
        return label[:, 0].long()
    label = label.float()
    return torch.where((label == unknown).any(1, keepdim=True), torch.full_like(label, math.nan), label)


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest absolute difference over the expected tensor's scale; infinite when the shapes differ or a value is NaN."""
    if found.shape != expected.shape:
        return math.inf
    difference = (found.double() - expected.double()).abs().max() / expected.double().abs().max().clamp_min(1e-30)
    return math.inf if torch.isnan(difference) else difference.item()


def ratio(found: Any, expected: Any) -> float:
    """Relative difference of two numbers."""
    return abs(float(found) - float(expected)) / max(abs(float(expected)), 1e-12)


def published_form(name: str, prediction: Tensor) -> Tensor:
    """A prediction as the published post-processing returns it."""
    if name in ('semseg', 'human_parts'):
        return prediction[:, 0]
    if name in ('sal', 'edge'):
        return prediction[:, 0] * 255
    prediction = prediction.permute(0, 2, 3, 1)
    return (prediction + 1) * 127.5 if name == 'normals' else prediction
