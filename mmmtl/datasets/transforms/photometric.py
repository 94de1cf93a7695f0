"""Colour: photometric distortion and normalisation, bit for bit those of the published recipes, by lookup tables."""

from __future__ import annotations

import random
from collections.abc import Sequence

import cv2
import numpy as np

from mmmtl.registry import TRANSFORMS

from .base import Results, Transform, map_images

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def _linear(alpha: float = 1.0, beta: float = 0.0) -> np.ndarray:
    """Table of clip(x * alpha + beta) over uint8, truncated."""
    return np.clip(np.arange(256, dtype=np.float32) * alpha + beta, 0, 255).astype(np.uint8)


def _through_hsv(image: np.ndarray, channel: int, table: np.ndarray) -> np.ndarray:
    """Map one channel of the HSV form through a table; uint8 both ways, as published."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    hsv[..., channel] = cv2.LUT(np.ascontiguousarray(hsv[..., channel]), table)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)


@TRANSFORMS.register_module()
class PhotoMetricDistortion(Transform):
    """Brightness, contrast, saturation and hue, each with probability 0.5, on uint8 (floats are truncated first).

    Draws, a value only where its coin ``random() < 0.5`` succeeds: brightness coin, ``uniform(-32, 32)``;
    coin of the order (success: contrast before saturation and hue); contrast at its place: coin,
    ``uniform(0.5, 1.5)``; saturation coin, ``uniform(0.5, 1.5)``; hue coin, ``randint(-18, 17)`` (of 180).
    Both frames of a pair get the same distortion.

    Args:
        brightness_delta: Largest shift of brightness.
        contrast_range: Factors of contrast.
        saturation_range: Factors of saturation.
        hue_delta: Hue turns by -``hue_delta`` .. ``hue_delta`` - 1.
    """

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: tuple[float, float] = (0.5, 1.5),
        saturation_range: tuple[float, float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        self.brightness_delta, self.hue_delta = brightness_delta, int(hue_delta)
        self.contrast_range, self.saturation_range = tuple(contrast_range), tuple(saturation_range)

    def _draw(self, rng: random.Random) -> list[tuple[str, np.ndarray]]:
        """Operations in their order, each with its table."""
        steps: list[tuple[str, np.ndarray]] = []

        def contrast() -> None:
            if rng.random() < 0.5:
                steps.append(('all', _linear(alpha=rng.uniform(*self.contrast_range))))

        if rng.random() < 0.5:
            steps.append(('all', _linear(beta=rng.uniform(-self.brightness_delta, self.brightness_delta))))
        contrast_first = rng.random() < 0.5
        if contrast_first:
            contrast()
        if rng.random() < 0.5:
            steps.append(('saturation', _linear(alpha=rng.uniform(*self.saturation_range))))
        if rng.random() < 0.5:
            turn = rng.randint(-self.hue_delta, self.hue_delta - 1)
            steps.append(('hue', ((np.arange(256) + turn) % 180).astype(np.uint8)))
        if not contrast_first:
            contrast()
        return steps

    def transform(self, results: Results) -> Results:
        steps = self._draw(results['rng'])

        def distort(image: np.ndarray) -> np.ndarray:
            image = np.ascontiguousarray(image).astype(np.uint8)
            for kind, table in steps:
                image = (
                    cv2.LUT(image, table)
                    if kind == 'all'
                    else _through_hsv(image, {'hue': 0, 'saturation': 1}[kind], table)
                )
            return image

        map_images(results, distort)
        return results


@TRANSFORMS.register_module()
class Normalize(Transform):
    """``(x / 255 - mean) / std`` in float32.

    Args:
        mean: Per RGB channel, of values in [0, 1]; default ImageNet's.
        std: Likewise.
    """

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        if len(mean) != 3 or len(std) != 3 or not all(v > 0 for v in std):
            raise ValueError(f'Normalize: mean and positive std of three channels are needed, got {mean} and {std}')
        self.mean, self.std = tuple(float(v) for v in mean), tuple(float(v) for v in std)

    def _apply(self, values: np.ndarray) -> np.ndarray:
        scaled = values.astype(np.float32) / np.float32(255)
        return (scaled - np.asarray(self.mean, np.float32)) / np.asarray(self.std, np.float32)

    def transform(self, results: Results) -> Results:
        # a uint8 image has 256 values per channel: normalise those, then look up
        table = self._apply(np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1))[None]
        map_images(
            results,
            lambda image: (
                cv2.LUT(np.ascontiguousarray(image), table) if image.dtype == np.uint8 else self._apply(image)
            ),
        )
        return results
