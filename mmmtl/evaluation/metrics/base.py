"""What a task's metric is: it measures one image, and computes named numbers from the sum of all images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np

from mmmtl.errors import ConfigError, InputError, suggest
from mmmtl.evaluation.functional.image_list import read_image_list
from mmmtl.utils.labels import IGNORE

State = dict[str, np.ndarray]
"""What one image contributes: integer arrays (added as int64) or float64 arrays (added exactly, rounded once)."""


class TaskMetric(ABC):
    """Measures one kind of map, and reports one number or several under names (mIoU, RMSE, ...).

    A subclass measures an image (:meth:`measure`), independently of all others; the states are added exactly,
    so any order, batch size or number of ranks gives the same digits; :meth:`compute` takes the sum.

    Args:
        protocol: One of :attr:`protocols`. Its name follows that of every number unless it is the first one.
        image_list: Sample ids to measure, or a file with one per line; default: all. (The published boundary metrics
            of PASCAL-Context rest on 2498 of its 5105 validation images, for example.)

    Raises:
        ConfigError: When the protocol is unknown.
    """

    protocols: ClassVar[tuple[str, ...]] = ('clean',)
    """First the default, whose numbers have plain names; ``upstream`` = the published code where it differs."""
    greater_is_better: ClassVar[Mapping[str, bool]] = {}
    """``{name: is a higher value better}``, the one papers compare first."""
    slow: ClassVar[bool] = False
    """Worth measuring in another process."""
    ordered: bool = False
    """The result depends on the order of images: states are kept one by one and added by :meth:`accumulate`."""
    bulky: ClassVar[tuple[str, ...]] = ()
    """Fields of a state that are too large to be kept for every image; :meth:`compute` can do without them."""

    def __init__(self, protocol: str | None = None, image_list: str | Sequence[str] | None = None) -> None:
        if isinstance(image_list, str):
            image_list = read_image_list(image_list)
        self.image_list = None if image_list is None else frozenset(image_list)
        self.protocol = self.protocols[0] if protocol is None else protocol
        if self.protocol not in self.protocols:
            raise ConfigError(
                f"{type(self).__name__}: protocol='{protocol}' is not one of {', '.join(self.protocols)}."
                f'{suggest(str(protocol), self.protocols)}'
            )

    @classmethod
    def plain_metrics(cls, protocol: str) -> Mapping[str, bool]:
        """``{name: is a higher value better}`` that a protocol gives, without its name."""
        return cls.greater_is_better

    @classmethod
    def metrics_of(cls, protocol: str) -> dict[str, bool]:
        """``{name: is a higher value better}`` under the names that :meth:`compute` gives."""
        suffix = '' if protocol == cls.protocols[0] else f'_{protocol}'
        return {name + suffix: higher for name, higher in cls.plain_metrics(protocol).items()}

    @property
    def reported(self) -> dict[str, bool]:
        """``{name: is a higher value better}`` under the names that :meth:`compute` gives."""
        return self.metrics_of(self.protocol)

    @property
    def suffix(self) -> str:
        """What the protocol adds to every name."""
        return '' if self.protocol == self.protocols[0] else f'_{self.protocol}'

    def includes(self, sample_id: str) -> bool:
        """Is the sample among those to be measured?"""
        return self.image_list is None or sample_id in self.image_list

    @abstractmethod
    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        """What one image contributes.

        Args:
            pred: Prediction: int (H, W) classes, float (1, H, W) probabilities or float (C, H, W) values.
            gt: Label of the same height and width: int (H, W), 255 invalid, or float (C, H, W), NaN invalid.
        """

    @abstractmethod
    def compute(self, total: State) -> dict[str, float]:
        """Numbers by name from the added states; empty when not a single pixel was valid."""

    def accumulate(self, states: Iterable[State]) -> State:
        """Add states in the order given; only asked of a metric that is :attr:`ordered`."""
        raise TypeError(f'{type(self).__name__} says it is ordered, so it must say how its states are accumulated')

    def named(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The numbers under their names with the protocol."""
        return {name + self.suffix: float(value) for name, value in metrics.items()}


def expect_channels(metric: TaskMetric, gt: np.ndarray, least: int, most: int | None = None) -> None:
    """Refuse a label that is no map of numbers with ``least`` to ``most`` channels.

    Raises:
        InputError: The metric is for other tasks.
    """
    if gt.ndim != 3 or gt.dtype.kind != 'f' or not least <= len(gt) <= (most or len(gt)):
        wanted = f'{least}' if most == least else f'{least} to {most}' if most else f'{least} or more'
        raise InputError(
            f'{type(metric).__name__} measures maps of numbers (C, H, W) with {wanted} channels, found a label {gt.dtype} '
            f'{gt.shape}: choose another metric for this task'
        )


def expect_probability(metric: TaskMetric, pred: np.ndarray, gt: np.ndarray) -> None:
    """Refuse a prediction that is no probability, and a label of other than two classes; a prediction of NaN passes.

    Raises:
        InputError: Numbers beyond 0 and 1 in the prediction, or other numbers than 0, 1 and 255 in the label.
    """
    if gt.dtype.kind not in 'iub' or (((gt < 0) | (gt > 1)) & (gt != IGNORE)).any():
        raise InputError(
            f'{type(metric).__name__} measures probabilities against labels of 0, 1 and {IGNORE} (unknown), found a label '
            f'{gt.dtype} {gt.shape} with other numbers: choose another metric for this task'
        )
    low, high = (float(extreme.reduce(pred, axis=None)) for extreme in (np.fmin, np.fmax))
    if low < -1e-3 or high > 1 + 1e-3:
        raise InputError(
            f'expected probabilities in [0, 1], found numbers from {low:.4g} to {high:.4g}: give them after the sigmoid or '
            'softmax, and pictures of 0..255 divided by 255'
        )


def valid_pixels(gt: np.ndarray) -> np.ndarray:
    """Boolean (H, W): where a continuous label (C, H, W) is known."""
    return np.isfinite(gt).all(0)


def image_state(names: Sequence[str], metrics: Mapping[str, float]) -> State:
    """State of an image whose own numbers are averaged over images; an image without any has no weight."""
    values = [metrics[name] for name in names] if metrics else [0.0] * len(names)
    return dict(images=np.int64(bool(metrics)), metrics=np.array(values, np.float64))


def image_mean(names: Sequence[str], total: State) -> dict[str, float]:
    """Mean over images of the numbers of :func:`image_state`; empty without an image."""
    images = int(total['images'])
    return dict(zip(names, (total['metrics'] / images).tolist())) if images else {}
