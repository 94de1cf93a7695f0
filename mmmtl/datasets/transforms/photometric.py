"""Colour: photometric distortion, bit for bit that of the published recipes, by lookup tables."""

from __future__ import annotations

import random

import cv2
import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.registry import TRANSFORMS

from .base import Results, Transform, map_images


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

    draws_random = True

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: tuple[float, float] = (0.5, 1.5),
        saturation_range: tuple[float, float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        for name, (low, high) in (('contrast_range', contrast_range), ('saturation_range', saturation_range)):
            if not 0 <= low <= high:
                raise ConfigError(
                    f'PhotoMetricDistortion: {name} must be (low, high) with 0 <= low <= high, got {low, high}'
                )
        if hue_delta < 1 or brightness_delta < 0:
            raise ConfigError(
                f'PhotoMetricDistortion: hue_delta must be at least 1 and brightness_delta at least 0, got {hue_delta} and '
                f'{brightness_delta}'
            )
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
