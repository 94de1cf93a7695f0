"""Tasks of two classes whose prediction is the probability of the second one."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from torch import Tensor

from .base import Legend, colour_ramp, stripe_unknown
from .categorical import CategoricalTask


class BinaryTask(CategoricalTask):
    """A task of two classes. Label: int64 (H, W) of 0, 1, 255 unknown. Prediction: float (B, 1, H, W), the probability
    of class 1, drawn in shades of grey.
    """

    def from_image(self, image: Tensor) -> Tensor:
        return self.image_share(image)

    def constant_predictions(self, labels: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.ones(1, np.float32)]

    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        label = np.asarray(label).reshape(np.shape(label)[-2:])
        if np.issubdtype(label.dtype, np.integer):
            return super().colorize(label)
        picture = colour_ramp(cv2.COLORMAP_BONE)[(np.nan_to_num(label).clip(0, 1) * 255).astype(np.uint8)]
        return stripe_unknown(picture, np.isnan(label))

    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        return Legend(ramp=colour_ramp(cv2.COLORMAP_BONE), low=0.0, high=1.0, unit='probability')
