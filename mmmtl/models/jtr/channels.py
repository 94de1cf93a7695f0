"""A task's channels in the stack: how its labels and predictions become numbers in [0, 1], and how they are compared.

==================  ========================================  ===============================  =======================
kind of task        in the stack                              reconstruction's target          compared by
==================  ========================================  ===============================  =======================
``Classes``         one-hot; of predictions a sample          the same                         cross-entropy of each
``Binary``          the probability                           the same                         cross-entropy
``Numbers``         Φ of a normal distribution                the number itself                difference of Φ
``UnitVectors``     (v + 1) / 2                               the vector                       1 - cosine
==================  ========================================  ===============================  =======================

Below, B images, C channels of the task, ``mask`` (B, 1, H, W) 1 where every label of the image is known. An unknown
pixel of a label holds the number 0, or no class.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.models.layers.label_samples import one_hot, sample_classes
from mmmtl.tasks import Task

Draw = Callable[[], Tensor]
"""Gives uniform draws of a raw map's shape."""
PUBLISHED_STATISTICS = (2.3618, 1.5876)
"""Mean and standard deviation of NYUDv2's depth, in the published program for every data set."""


class Channels(ABC):
    """What the channels of one task hold.

    Args:
        task: The task.
        faithful: Normalise and encode reconstructions as the published program does.
    """

    def __init__(self, task: Task, faithful: bool) -> None:
        self.task, self.faithful = task, faithful

    def value(self, raw: Tensor) -> Tensor:
        """A raw map (B, C, H, W) → the prediction, before it is masked or encoded."""
        return raw

    @abstractmethod
    def of_label(self, label: Tensor) -> Tensor:
        """Labels → what the stack holds of them."""

    @abstractmethod
    def of_prediction(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        """Predictions → what the stack holds of them, with gradient."""

    def of_prediction_soft(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        """:meth:`of_prediction` without sampling."""
        return self.of_prediction(value, mask, draw)

    @abstractmethod
    def target_of_label(self, label: Tensor) -> Tensor:
        """What the reconstruction of a label is held against."""

    @abstractmethod
    def target_of_prediction(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        """What the reconstruction of a prediction is held against in a stack of labels."""

    def target_of_itself(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        """What the reconstruction of a prediction is held against in a stack of predictions."""
        return self.of_prediction(value, mask, draw)

    @abstractmethod
    def distance(self, raw: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        """Per image (B,), how far reconstructions, raw, are from their targets."""

    def count(self, target: Tensor, mask: Tensor) -> Tensor:
        """(B,): what the sum over an image is divided by.

        As published, the number of a target's elements that are not 0; else of the pixels that count.
        """
        counted = (target != 0) if self.faithful else (mask > 0)
        return counted.flatten(1).sum(1).clamp_min(1)


class Classes(Channels):
    """Several classes."""

    def of_label(self, label: Tensor) -> Tensor:
        return one_hot(label, self.task.out_channels)

    target_of_label = of_label

    def of_prediction(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        return sample_classes(value, draw()) * mask

    target_of_prediction = of_prediction

    def of_prediction_soft(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        return value.softmax(1) * mask

    def distance(self, raw: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        loss = F.binary_cross_entropy_with_logits(raw, target, reduction='none') * mask
        return loss.flatten(1).sum(1) / self.count(target, mask)


class Binary(Classes):
    """One class or not, a single logit."""

    def of_prediction(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        return value.sigmoid() * mask

    target_of_prediction = of_prediction_soft = of_prediction


class Numbers(Channels):
    """Numbers, by the distribution function Φ of a normal distribution.

    Args:
        mean, deviation: Of that distribution.
    """

    def __init__(self, task: Task, faithful: bool, mean: float, deviation: float) -> None:
        super().__init__(task, faithful)
        self.mean, self.deviation = mean, deviation

    def phi(self, x: Tensor) -> Tensor:
        """Numbers → (0, 1)."""
        return 0.5 * (1 + torch.erf((x - self.mean) / (self.deviation * math.sqrt(2))))

    def of_label(self, label: Tensor) -> Tensor:
        return self.phi(self.target_of_label(label))

    def target_of_label(self, label: Tensor) -> Tensor:
        return torch.where(torch.isnan(label), 0.0, label)

    def of_prediction(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        return self.phi(value * mask)

    def target_of_prediction(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        return value

    def target_of_itself(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        # the published program encodes it here and once more in the distance
        return self.of_prediction(value, mask, draw) if self.faithful else value * mask

    def distance(self, raw: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        inside = (raw.sigmoid() - 0.5) * (1 - 1e-5) + 0.5
        difference = (inside - self.phi(target)).abs() * mask
        return difference.flatten(1).sum(1) / self.count(target, mask)


class UnitVectors(Channels):
    """Vectors of length 1."""

    def value(self, raw: Tensor) -> Tensor:
        return self.task.predict(raw)

    def of_label(self, label: Tensor) -> Tensor:
        return (self.target_of_label(label) + 1) / 2

    def target_of_label(self, label: Tensor) -> Tensor:
        return torch.where(torch.isnan(label), 0.0, label)

    def of_prediction(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        return (value * mask + 1) / 2

    def target_of_prediction(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        return value

    def target_of_itself(self, value: Tensor, mask: Tensor, draw: Draw) -> Tensor:
        # the published program compares with the encoded vector
        return self.of_prediction(value, mask, draw) if self.faithful else value * mask

    def distance(self, raw: Tensor, target: Tensor, mask: Tensor) -> Tensor:
        cosine = F.normalize(raw, dim=1) * target * mask
        return 1 - cosine.flatten(1).sum(1) / self.count(target, mask)


def channels_of(task: Task, faithful: bool = True, statistics: Sequence[float] | None = None) -> Channels:
    """The channels of a task.

    Args:
        task: The task.
        faithful: See :class:`Channels`.
        statistics: Mean and standard deviation of a task of numbers; default: the middle and a quarter of a bounded
            range, :data:`PUBLISHED_STATISTICS` for positive numbers, else 0 and 1.
    """
    if task.categorical:
        return (Classes if task.out_channels > 1 else Binary)(task, faithful)
    if task.unit_length:  # type: ignore[attr-defined]
        return UnitVectors(task, faithful)
    if statistics is None:
        low, high = task.value_range  # type: ignore[attr-defined]
        if math.isfinite(low) and math.isfinite(high):
            statistics = ((low + high) / 2, (high - low) / 4)
        else:
            statistics = PUBLISHED_STATISTICS if math.isfinite(low) else (0.0, 1.0)
    return Numbers(task, faithful, *statistics)
