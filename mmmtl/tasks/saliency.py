"""Saliency: the object that draws the eye."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from torch import Tensor

from mmmtl.registry import TASKS

from .base import Legend, colour_ramp
from .categorical import CategoricalTask


@TASKS.register_module()
class Saliency(CategoricalTask):
    """Salient or not. Label: int64 (H, W) of 0, 1, 255 unknown. Raw output: two-class logits.

    Prediction: float (B, 1, H, W), the probability of "salient".

    Args:
        code_threshold: Probability above which a diffusion decoder codes a pixel as salient while it denoises
            (published TaskDiffusion: 0.85).
    """

    default_name = 'saliency'
    aliases = ('sal',)
    headline = 'maxF'

    def __init__(self, name: str | None = None, *, code_threshold: float = 0.85, **kwargs: Any) -> None:
        super().__init__(name, classes=('background', 'salient'), palette=((0, 0, 0), (255, 255, 255)), **kwargs)
        self.code_threshold = code_threshold

    def default_loss(self) -> dict:
        return dict(type='BalancedCrossEntropy')

    def predict(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)[:, 1:]

    def code_logits(self, logits: Tensor) -> Tensor:
        return (logits.softmax(1)[:, 1] > self.code_threshold).long()

    def from_image(self, image: Tensor) -> Tensor:
        return self.image_share(image)

    def default_metric(self) -> dict:
        return dict(type='SaliencyMeasure')

    def constants(self, labels: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.ones(1, np.float32)]

    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        label = np.asarray(label).reshape(np.shape(label)[-2:])
        if np.issubdtype(label.dtype, np.integer):
            return super().colorize(label)
        return colour_ramp(cv2.COLORMAP_BONE)[(label.clip(0, 1) * 255).astype(np.uint8)]

    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        return Legend(ramp=colour_ramp(cv2.COLORMAP_BONE), low=0.0, high=1.0, unit='probability')
