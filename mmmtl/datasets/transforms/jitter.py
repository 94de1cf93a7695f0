"""Colour jitter in factors, one draw for both frames of a pair."""

from __future__ import annotations

import numpy as np
import torch
from torchvision.transforms import functional as F

from mmmtl.errors import ConfigError
from mmmtl.registry import TRANSFORMS

from .base import Results, Transform, map_images


@TRANSFORMS.register_module()
class ColorJitter(Transform):
    """Brightness, contrast and saturation times a random factor, hue turned, in random order; the result is uint8.

    Draws: the factors ``uniform(1 - x, 1 + x)`` of brightness, contrast, saturation, ``uniform(-hue, hue)``, then the
    order, ``shuffle``. Both frames get the same.

    Args:
        brightness: In [0, 1].
        contrast: In [0, 1].
        saturation: In [0, 1].
        hue: In [0, 0.5], of the full circle.
    """

    draws_random = True

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        for name, value, top in (
            ('brightness', brightness, 1),
            ('contrast', contrast, 1),
            ('saturation', saturation, 1),
            ('hue', hue, 0.5),
        ):
            if not 0 <= value <= top:
                raise ConfigError(f'ColorJitter: {name} must lie in [0, {top}], got {value}')
        self.brightness, self.contrast, self.saturation, self.hue = brightness, contrast, saturation, hue

    def transform(self, results: Results) -> Results:
        rng = results['rng']
        steps = [
            (change, rng.uniform(1 - spread, 1 + spread))
            for change, spread in (
                (F.adjust_brightness, self.brightness),
                (F.adjust_contrast, self.contrast),
                (F.adjust_saturation, self.saturation),
            )
        ]
        steps.append((F.adjust_hue, rng.uniform(-self.hue, self.hue)))
        rng.shuffle(steps)

        def jitter(image: np.ndarray) -> np.ndarray:
            picture = torch.from_numpy(np.ascontiguousarray(np.asarray(image, np.uint8).transpose(2, 0, 1)))
            for change, amount in steps:
                picture = change(picture, amount)
            return np.ascontiguousarray(picture.numpy().transpose(1, 2, 0))

        map_images(results, jitter)
        return results
