"""Albedo: the colour of the surface without the light on it."""

from __future__ import annotations

import numpy as np

from mmmtl.registry import TASKS

from .base import Legend
from .continuous import ContinuousTask, as_channels, rgb_picture


@TASKS.register_module()
class Albedo(ContinuousTask):
    """Reflectance. Label: float32 (3, H, W), linear RGB in [0, 1], NaN where unknown. Prediction: the same range."""

    default_name = 'albedo'
    aliases = ('reflectance',)
    channels = 3
    value_range = (0.0, 1.0)
    primary_metric = 'RMSE'

    def default_metric(self) -> dict:
        return dict(type='ImageError')

    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        return rgb_picture(as_channels(label).clip(0, 1) ** (1 / 2.2))

    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        return Legend(unit='linear reflectance, drawn with gamma 2.2')
