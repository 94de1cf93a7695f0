"""Boundary detection: where one thing ends and another begins."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mmmtl.errors import ConfigError
from mmmtl.registry import TASKS
from mmmtl.utils.labels import IGNORE

from .binary import BinaryTask
from .continuous import coded


@TASKS.register_module()
class Boundary(BinaryTask):
    """Boundary or not, from one logit. Label: int64 (H, W) of 0, 1, 255 unknown.

    Prediction: float (B, 1, H, W), the probability of a boundary.

    Args:
        positive_weight: Weight of boundary pixels in the loss, of 1 in all (PASCAL-Context 0.95, NYUDv2 0.9).
        max_dist: Largest distance of a matched pixel in the evaluation, as a share of the image's diagonal.
    """

    default_name = 'boundary'
    aliases = ('edge', 'edges')
    primary_metric = 'odsF'
    code_fill = 255.0

    def __init__(
        self, name: str | None = None, *, positive_weight: float = 0.95, max_dist: float = 0.0075, **kwargs: Any
    ) -> None:
        super().__init__(name, classes=('no boundary', 'boundary'), palette=((16, 18, 24), (255, 255, 255)), **kwargs)
        if not 0 < positive_weight < 1:
            raise ConfigError(f"task '{self.name}': positive_weight must lie between 0 and 1, got {positive_weight}")
        self.positive_weight, self.max_dist = positive_weight, max_dist
        self.out_channels = self.code_channels = 1
        self.code_classes = None

    def default_loss(self) -> dict:
        return dict(type='WeightedBinaryCrossEntropy', positive_weight=self.positive_weight)

    def predict(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def code_label(self, label: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        return coded(label[:, None].float(), (label == IGNORE)[:, None], size, self.code_fill, True)

    def code_logits(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def default_regions(self) -> dict:
        weights = [1 - self.positive_weight, self.positive_weight]
        return dict(type='ClassRegions', classes=2, loss=dict(type='CrossEntropy', class_weight=weights))

    def default_metric(self) -> dict:
        return dict(type='BoundaryMeasure', max_dist=self.max_dist)
