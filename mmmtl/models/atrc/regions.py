"""What the label context of ATRC is made of: every task's labels as a few classes, also those of continuous tasks."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor

from mmmtl.errors import ConfigError
from mmmtl.registry import MODELS

UNKNOWN = 255


class LabelRegions(BaseModule):
    """Labels of a task → class maps int64 (n, H, W), 255 = unknown, and the loss of a prediction of them.

    Args:
        classes: Number of classes.
        loss: Config of a loss of (logits, class map); None: the task's own.
    """

    def __init__(self, classes: int, loss: dict | None) -> None:
        super().__init__()
        self.classes = classes
        self.loss = None if loss is None else MODELS.build(loss)

    @abstractmethod
    def forward(self, label: Tensor) -> Tensor:
        """Label of the task, as a decoder gets it → class map."""


@MODELS.register_module()
class ClassRegions(LabelRegions):
    """The classes of a categorical task, with its own loss or another."""

    def __init__(self, classes: int, loss: dict | None = None) -> None:
        super().__init__(classes, loss)

    def forward(self, label: Tensor) -> Tensor:
        return label


@MODELS.register_module()
class IntervalRegions(LabelRegions):
    """Intervals of a single positive number, of equal width in its logarithm (depth: 40 between 0.7 and 10 m).

    Args:
        low, high: Range; what lies outside belongs to the first or last interval.
        classes: Number of intervals.
        log: Equal widths in the logarithm; False: in the value.
    """

    def __init__(self, low: float = 0.7, high: float = 10.0, classes: int = 40, log: bool = True) -> None:
        super().__init__(classes, dict(type='CrossEntropy'))
        if not low < high or (log and low <= 0):
            raise ConfigError(f'IntervalRegions needs low < high (and low > 0 with log=True), got {low} and {high}')
        self.low, self.high, self.log = low, high, log

    def forward(self, label: Tensor) -> Tensor:
        """(n, 1, H, W), NaN = unknown → (n, H, W)."""
        x = label[:, 0]
        known = ~torch.isnan(x)
        x = torch.where(known, x, self.low)
        if self.log:
            share = (x.clamp_min(1e-12) / self.low).log() / math.log(self.high / self.low)
        else:
            share = (x - self.low) / (self.high - self.low)
        return torch.where(known, (share * self.classes).floor().clamp(0, self.classes - 1).long(), UNKNOWN)


@MODELS.register_module()
class DirectionRegions(LabelRegions):
    """Nearest of a set of vectors, by Euclidean distance (surface normals: 40 cluster centres).

    Args:
        centroids: The vectors, (K, C); None: ``classes`` unit vectors spread over the sphere.
        classes: Number of vectors that are spread.
        channels: C of those.
    """

    def __init__(
        self, centroids: Sequence[Sequence[float]] | None = None, classes: int = 40, channels: int = 3
    ) -> None:
        points = _spread(classes, channels) if centroids is None else torch.tensor(centroids, dtype=torch.float32)
        super().__init__(len(points), dict(type='CrossEntropy'))
        self.register_buffer('centroids', points, persistent=False)

    def forward(self, label: Tensor) -> Tensor:
        """(n, C, H, W), NaN = unknown → (n, H, W)."""
        if label.shape[1] != self.centroids.shape[1]:
            raise ConfigError(
                f'DirectionRegions has vectors of {self.centroids.shape[1]} components, the label has {label.shape[1]}'
            )
        known = ~torch.isnan(label).any(1)
        points = torch.nan_to_num(label).flatten(2).transpose(1, 2)  # (n, H·W, C)
        nearest = torch.cdist(
            points, self.centroids.to(points).expand(len(points), -1, -1), compute_mode='donot_use_mm_for_euclid_dist'
        ).argmin(-1)
        return torch.where(known, nearest.reshape(known.shape), UNKNOWN)


def _spread(count: int, channels: int) -> Tensor:
    """Unit vectors (count, channels): on a circle, on a spiral around the sphere, or else in random directions."""
    if channels not in (2, 3):
        draws = torch.randn(count, channels, generator=torch.Generator().manual_seed(0))
        return draws / draws.norm(dim=1, keepdim=True)
    i = torch.arange(count, dtype=torch.float32) + 0.5
    if channels == 2:
        return torch.stack([(2 * math.pi * i / count).cos(), (2 * math.pi * i / count).sin()], 1)
    z, angle = 1 - 2 * i / count, math.pi * (1 + 5**0.5) * i
    radius = (1 - z * z).sqrt()
    return torch.stack([radius * angle.cos(), radius * angle.sin(), z], 1)
