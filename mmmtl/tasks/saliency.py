"""Saliency: the object that draws the eye."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmmtl.errors import ConfigError
from mmmtl.registry import TASKS

from .binary import BinaryTask


@TASKS.register_module()
class Saliency(BinaryTask):
    """Salient or not. Label: int64 (H, W) of 0, 1, 255 unknown. Raw output: two-class logits.

    Prediction: float (B, 1, H, W), the probability of "salient".

    Args:
        out_channels: 2 for two-class logits, 1 for one logit (MTI-Net), with a loss that takes one.
        code_threshold: Probability above which a diffusion decoder codes a pixel as salient while it denoises
            (published TaskDiffusion: 0.85).
    """

    default_name = 'saliency'
    aliases = ('sal',)
    primary_metric = 'maxF'

    def __init__(
        self, name: str | None = None, *, out_channels: int = 2, code_threshold: float = 0.85, **kwargs: Any
    ) -> None:
        super().__init__(name, classes=('background', 'salient'), palette=((0, 0, 0), (255, 255, 255)), **kwargs)
        if out_channels not in (1, 2):
            raise ConfigError(f"task '{self.name}': out_channels must be 1 or 2, got {out_channels}")
        if not 0 < code_threshold < 1:
            raise ConfigError(f"task '{self.name}': code_threshold must lie between 0 and 1, got {code_threshold}")
        self.out_channels = out_channels
        self.code_threshold = code_threshold

    def default_loss(self) -> dict:
        return dict(type='BalancedCrossEntropy' if self.out_channels == 2 else 'ThresholdedBinaryCrossEntropy')

    def predict(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)[:, 1:] if self.out_channels == 2 else logits.sigmoid()

    def code_logits(self, logits: Tensor) -> Tensor:
        return (self.predict(logits)[:, 0] > self.code_threshold).long()

    def default_metric(self) -> dict:
        return dict(type='SaliencyMeasure')
