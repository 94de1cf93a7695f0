"""Optical flow: where every pixel goes from this frame to the next."""

from __future__ import annotations

import cv2
import numpy as np
from torch import Tensor

from mmmtl.registry import TASKS

from .base import Legend, stripe_unknown
from .continuous import VectorTask, as_channels


@TASKS.register_module()
class OpticalFlow(VectorTask):
    """Motion in pixels of the map it is stored on. Label: float32 (2, H, W), u right, v down, NaN where unknown.

    Raw output and prediction: pixels of the network's input, of the original image after resizing.
    """

    default_name = 'optical_flow'
    aliases = ('flow',)
    channels = 2
    frames = 2
    unit = 'px'
    primary_metric = 'EPE'

    def resize(self, label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        scale = np.array([size[1] / label.shape[-1], size[0] / label.shape[-2]], np.float32)
        return super().resize(label, size) * scale[:, None, None]

    def resize_prediction(self, prediction: Tensor, size: tuple[int, int]) -> Tensor:
        scale = prediction.new_tensor([size[1] / prediction.shape[-1], size[0] / prediction.shape[-2]])
        return super().resize_prediction(prediction, size) * scale[:, None, None]

    def default_metric(self) -> dict:
        return dict(type='EndPointError')

    def picture_range(self, label: np.ndarray, reference: np.ndarray | None) -> tuple[float, float]:
        length = np.linalg.norm(as_channels(label if reference is None else reference), axis=0)
        known = length[np.isfinite(length)]
        return 0.0, max(float(np.quantile(known, 0.98)), 1e-3) if known.size else 1.0

    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        u, v = as_channels(label)
        unknown = np.isnan(u)
        length = np.hypot(u, v) / self.picture_range(label, reference)[1]
        hue = (np.arctan2(v, u) / np.pi + 1) * 90
        hsv = np.stack([hue % 180, 255 * length.clip(0, 1), np.full_like(u, 245)], -1)
        picture = cv2.cvtColor(np.nan_to_num(hsv).astype(np.uint8), cv2.COLOR_HSV2RGB)
        return stripe_unknown(picture, unknown)

    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        return Legend(unit=f'hue = direction, full colour = {self.picture_range(label, reference)[1]:.3g} {self.unit}')
