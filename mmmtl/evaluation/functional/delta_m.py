"""Δm: the mean relative gain of a multi-task network over single-task networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class DeltaM:
    """Δm and what it is made of.

    Attributes:
        value: The mean over figures, in percent; positive is better than the reference.
        gains: ``{'TASK/FIGURE': gain in percent}``.
    """

    value: float
    gains: dict[str, float]


def delta_m(
    figures: Mapping[str, float], reference: Mapping[str, float], greater_is_better: Mapping[str, bool]
) -> DeltaM:
    """Δm = 100 / T · Σ (-1)^l (M - S) / S over the figures of the reference; l = 1 where lower is better.

    Args:
        figures: M, ``{'TASK/FIGURE': number}``; may hold more than the reference.
        reference: S, one figure per task as a rule; every figure counts once.
        greater_is_better: Direction of each of the reference's figures.

    Raises:
        ValueError: When a figure of the reference is missing, has no direction, or is zero.
    """
    if not reference:
        raise ValueError('the reference holds no figure')
    missing = sorted(set(reference) - set(figures))
    if missing:
        raise ValueError(f'Δm needs {missing}, which were not evaluated; there are {sorted(figures)}')
    unknown = sorted(set(reference) - set(greater_is_better))
    if unknown:
        raise ValueError(f'whether {unknown} should be high or low is not known')
    zero = sorted(name for name, value in reference.items() if value == 0)
    if zero:
        raise ValueError(f'the reference of {zero} is zero, so there is no relative gain')
    gains = {
        name: (100.0 if greater_is_better[name] else -100.0) * (figures[name] - value) / value
        for name, value in reference.items()
    }
    return DeltaM(float(np.mean(list(gains.values()))), gains)


def mean_and_std(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of the sample (n - 1); 0 for one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
