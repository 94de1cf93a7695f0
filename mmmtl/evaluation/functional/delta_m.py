"""Δm: the mean relative gain of a multi-task network over single-task networks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mmmtl.errors import ConfigError


@dataclass(frozen=True)
class DeltaM:
    """Δm and what it is made of.

    Attributes:
        value: The mean over metrics, in percent; positive is better than the reference.
        gains: ``{'TASK/METRIC': gain in percent}``.
    """

    value: float
    gains: dict[str, float]


def delta_m(
    metrics: Mapping[str, float], reference: Mapping[str, float], greater_is_better: Mapping[str, bool]
) -> DeltaM:
    """Δm = 100 / T · Σ (-1)^l (M - S) / S over the metrics of the reference; l = 1 where lower is better.

    Args:
        metrics: M, ``{'TASK/METRIC': number}``; may hold more than the reference.
        reference: S, usually one metric per task; each counts once.
        greater_is_better: Direction of each of the reference's metrics.

    Raises:
        ConfigError: When a metric of the reference is missing, has no direction, is zero, or a share in percent.
    """
    if not reference:
        raise ConfigError('the reference holds no metric')
    missing = sorted(set(reference) - set(metrics))
    if missing:
        raise ConfigError(f'Δm needs {missing}, which were not evaluated; there are {sorted(metrics)}')
    unknown = sorted(set(reference) - set(greater_is_better))
    if unknown:
        raise ConfigError(f'whether {unknown} should be high or low is not known')
    zero = sorted(name for name, value in reference.items() if value == 0)
    if zero:
        raise ConfigError(f'the reference of {zero} is zero, so there is no relative gain')
    for name, value in reference.items():
        if greater_is_better[name] and metrics[name] <= 1 < value:
            raise ConfigError(
                f'the reference of {name} is {value:g} and {metrics[name]:g} was measured: give shares as '
                'fractions, not in percent'
            )
    gains = {
        name: (100.0 if greater_is_better[name] else -100.0) * (metrics[name] - value) / value
        for name, value in reference.items()
    }
    return DeltaM(float(np.mean(list(gains.values()))), gains)


def mean_and_std(values: list[float]) -> tuple[float, float]:
    """Mean and standard deviation of the sample (n - 1); 0 for one value."""
    return float(np.mean(values)), float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
