"""Tasks whose label is one or several numbers per pixel: float32 (C, H, W), NaN where unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.errors import ConfigError, LabelError

from .base import Legend, Task, colour_ramp, stripe_unknown
from .picture_code import channels_to_image, image_to_channels, peak, quantile_range
from .spread import circular_deviation


def as_channels(label: np.ndarray) -> np.ndarray:
    """(H, W) or (C, H, W) → (C, H, W) float32."""
    array = np.asarray(label, np.float32)
    return array[None] if array.ndim == 2 else array


def rgb_picture(values: np.ndarray) -> np.ndarray:
    """Picture of (3, H, W) values in [0, 1]; NaN is drawn as unknown."""
    picture = (255 * np.nan_to_num(values).clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)
    return stripe_unknown(np.ascontiguousarray(picture), np.isnan(values).any(0))


def coded(values: Tensor, unknown: Tensor, size: tuple[int, int], fill: float, masked: bool) -> tuple[Tensor, Tensor]:
    """Values (n, C, H, W) and unknown pixels (n, 1, H, W) → code and share of unknown pixels on a grid of ``size``.

    Unknown pixels hold ``fill`` and take part in the bilinear average, as in the published TaskDiffusion.
    """
    filled = torch.where(unknown, torch.full_like(values, fill), values)
    share = unknown.to(values.dtype) if masked else torch.zeros_like(values[:, :1])
    return tuple(F.interpolate(m, size, mode='bilinear', align_corners=False) for m in (filled, share))


class ContinuousTask(Task):
    """Numbers per pixel.

    Label: float32 (``channels``, H, W), NaN in all channels where unknown. Raw output: the numbers themselves.
    Prediction: float (B, ``channels``, H, W).
    """

    categorical = False
    channels = 1
    unit = ''
    value_range: tuple[float, float] = (-np.inf, np.inf)
    """Values a label may take."""
    unit_length = False
    """Whether labels are vectors of length 1."""
    along_axis = False
    """Whether values are distances along the optical axis, from which points in space follow."""
    usual_median: tuple[float, float] = (-np.inf, np.inf)
    """Where the median of a data set's labels lies when scale and unit are right."""
    colormap = cv2.COLORMAP_VIRIDIS
    code_fill = 255.0
    """What an unknown pixel holds in the code of a diffusion decoder."""
    code_masks_unknown = True
    image_fill = -1.0
    """What an unknown pixel holds in the image an autoencoder is fed with."""
    image_quantiles = (0.02, 0.98)
    """Quantiles of a sample's values that become -1 and 1 in that image, where the task has no range of its own."""

    def __init__(self, name: str | None = None, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        own = type(self).__mro__[: type(self).__mro__.index(ContinuousTask)]
        for number in ('label_channels', 'out_channels', 'code_channels'):
            if not any(number in vars(kind) for kind in own):  # what a class says itself stays
                setattr(self, number, self.channels)
        self.spread_unit = self.spread_unit or ('°' if self.unit_length else self.unit)
        bounds = self.value_range
        if not isinstance(bounds, (tuple, list)) or len(bounds) != 2 or not bounds[0] < bounds[1] or self.channels < 1:
            raise ConfigError(
                f"task '{self.name}': {type(self).__name__} needs a channel or more and value_range=(low, high), found "
                f'channels={self.channels} and {bounds}'
            )

    def default_regions(self) -> dict:
        if self.channels > 1:
            return dict(type='DirectionRegions', channels=self.channels)
        low, high = (x if np.isfinite(x) else d for x, d in zip(self.value_range, (0.0, 1.0)))
        return dict(type='IntervalRegions', low=low, high=high, log=False)

    def check_label(self, label: np.ndarray, where: str) -> None:
        if label.ndim != 3 or label.shape[0] != self.channels or label.dtype != np.float32:
            raise LabelError(
                f"{where}: task '{self.name}' expects float32 ({self.channels}, H, W), "
                f'found {label.dtype} {label.shape}'
            )
        # the least and the largest number, past NaN: one pass each, and NaN where nothing is known
        least, most = (
            float(extreme.reduce(label, axis=None)) if label.size else np.nan for extreme in (np.fmin, np.fmax)
        )
        unknown = np.isnan(label)
        if np.isinf((least, most)).any() or any((plane != unknown[0]).any() for plane in unknown[1:]):
            raise LabelError(
                f"{where}: task '{self.name}' expects finite values, or NaN in all channels of an unknown pixel"
            )
        if max(-least, most) > 1e9:
            raise LabelError(
                f"{where}: task '{self.name}' expects numbers below 1e9, found {max(-least, most):g}: mark unknown "
                f'pixels as NaN'
            )
        low, high = self.value_range
        if least < low - 1e-3 or most > high + 1e-3:
            raise LabelError(
                f"{where}: task '{self.name}' expects values in [{low:g}, {high:g}] {self.unit}, "
                f'found [{least:g}, {most:g}]'
            )

    def valid(self, label: Any) -> Any:
        return ~(torch.isnan(label) if isinstance(label, Tensor) else np.isnan(label)).any(-3)

    def blank(self, size: tuple[int, int]) -> np.ndarray:
        return np.full((self.channels, *size), np.nan, np.float32)

    @property
    def pad_value(self) -> float:
        return np.nan

    def default_loss(self) -> dict:
        return dict(type='MaskedL1')

    def predict(self, logits: Tensor) -> Tensor:
        low, high = self.value_range
        return logits.clamp(float(low), float(high)) if np.isfinite((low, high)).any() else logits

    def spread(self, mean: Tensor, variance: Tensor) -> Tensor:
        """Standard deviation, of vectors that of the distance to their mean; of unit vectors the circular one."""
        return circular_deviation(variance) if self.unit_length else variance.sqrt()

    def code_label(self, label: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        return coded(label, torch.isnan(label).any(1, keepdim=True), size, self.code_fill, self.code_masks_unknown)

    def code_logits(self, logits: Tensor) -> Tensor:
        return self.bound(logits)

    def image_range(self, label: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
        """The values that become -1 and 1 in the image of :meth:`to_image`, each (n, 1, 1, 1).

        The task's own range where it has one, else quantiles of the sample's known and possible values.
        """
        low, high = self.value_range
        if np.isfinite((low, high)).all():
            return label.new_full((1, 1, 1, 1), low), label.new_full((1, 1, 1, 1), high)
        possible = ((label > low) & (label < high)).all(1, keepdim=True)
        return quantile_range(label, known & possible, self.image_quantiles)

    def to_image(self, label: Tensor) -> tuple[Tensor, Tensor]:
        known = self.valid(label)[:, None]
        low, high = self.image_range(label, known)
        # a constant map has no spread to divide by
        values = ((label - low) / (high - low).clamp_min(1e-6) * 2 - 1).clamp(-1, 1)
        return channels_to_image(values).nan_to_num(nan=self.image_fill), known

    def from_image(self, image: Tensor) -> Tensor:
        return (image_to_channels(image, self.channels) + 1) / 2

    def constant_predictions(self, labels: Sequence[np.ndarray]) -> list[np.ndarray]:
        values = np.concatenate([label[:, self.valid(label)] for label in labels], 1).astype(np.float64)
        return [values.mean(1).astype(np.float32), np.median(values, 1).astype(np.float32)]

    def picture_range(self, label: np.ndarray, reference: np.ndarray | None) -> tuple[float, float]:
        """Values drawn as the first and the last colour."""
        low, high = self.value_range
        source = as_channels(label if reference is None else reference)
        known = source[np.isfinite(source)]
        if known.size:
            low = low if np.isfinite(low) else float(np.quantile(known, 0.01))
            high = high if np.isfinite(high) else float(np.quantile(known, 0.99))
        low, high = (low if np.isfinite(low) else 0.0), (high if np.isfinite(high) else 1.0)
        return low, high if high > low else low + 1e-6

    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        values = as_channels(label)[0]
        low, high = self.picture_range(label, reference)
        index = np.nan_to_num((values - low) / (high - low) * 255).clip(0, 255).astype(np.uint8)
        picture = colour_ramp(self.colormap)[index]
        return stripe_unknown(picture, np.isnan(values))

    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        low, high = self.picture_range(label, reference)
        return Legend(ramp=colour_ramp(self.colormap), low=low, high=high, unit=self.unit)


class VectorTask(ContinuousTask):
    """A vector per pixel, in axes tied to the image: mirroring the image mirrors a component.

    Channel 0 is the horizontal component, channel 1 the vertical one. As an image for an autoencoder, every channel
    of a sample is divided by its largest absolute value.
    """

    image_fill = 0.0

    def flip(self, label: Any, direction: str = 'horizontal') -> Any:
        flipped = super().flip(label, direction)
        signs = [1.0] * self.channels
        signs[0 if direction == 'horizontal' else 1] = -1.0
        if isinstance(flipped, Tensor):
            return flipped * flipped.new_tensor(signs).reshape(-1, 1, 1)
        return flipped * np.asarray(signs, flipped.dtype).reshape(-1, 1, 1)

    def to_image(self, label: Tensor) -> tuple[Tensor, Tensor]:
        return channels_to_image(label / peak(label)).nan_to_num(nan=self.image_fill), self.valid(label)[:, None]

    def from_image(self, image: Tensor) -> Tensor:
        return image_to_channels(image, self.channels)
