"""Shading: the light on the surface without its colour."""

from __future__ import annotations

import cv2

from mmmtl.registry import TASKS

from .continuous import ContinuousTask


@TASKS.register_module()
class Shading(ContinuousTask):
    """Irradiance of white light. Label: float32 (1, H, W), linear, in [0, 1], NaN where unknown. Prediction: ditto."""

    default_name = 'shading'
    channels = 1
    value_range = (0.0, 1.0)
    primary_metric = 'RMSE'
    unit = 'irradiance'
    colormap = cv2.COLORMAP_BONE

    def default_metric(self) -> dict:
        return dict(type='ImageError')
