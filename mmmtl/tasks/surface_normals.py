"""Surface normals: which way every visible surface faces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.errors import ConfigError, LabelError
from mmmtl.registry import TASKS

from .base import Legend
from .continuous import VectorTask, as_channels, rgb_picture


@TASKS.register_module()
class SurfaceNormals(VectorTask):
    """Unit vectors. Label: float32 (3, H, W), NaN where unknown; x to the right, y up, z towards the viewer unless the
    data set says otherwise (the first component always is the one that a horizontal flip negates).

    Raw output: a vector of any length. Prediction: float (B, 3, H, W), unit length.

    Args:
        image_signs: Signs of the components in the image for an autoencoder; (-1, 1, 1) for weights trained with
            x to the left, as those of StableMTL.
    """

    default_name = 'normals'
    aliases = ('normal',)
    prompt = 'normal'
    channels = 3
    value_range = (-1.0, 1.0)
    unit_length = True
    primary_metric = 'mErr'

    def __init__(self, name: str | None = None, *, image_signs: Sequence[float] = (1, 1, 1), **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        if len(image_signs) != 3 or any(abs(s) != 1 for s in image_signs):
            raise ConfigError(f"task '{self.name}': image_signs must be three numbers of 1 or -1, got {image_signs}")
        self.image_signs = tuple(float(s) for s in image_signs)

    def check_label(self, label: np.ndarray, where: str) -> None:
        super().check_label(label, where)
        x, y, z = label
        length = np.sqrt(x * x + y * y + z * z)
        if length.size and np.fmax.reduce(np.abs(length - 1), axis=None) > 0.1:
            raise LabelError(
                f"{where}: task '{self.name}' expects unit vectors, found lengths from "
                f'{np.nanmin(length):.3f} to {np.nanmax(length):.3f}'
            )

    def default_loss(self) -> dict:
        return dict(type='MaskedL1', normalize=True)

    def predict(self, logits: Tensor) -> Tensor:
        return F.normalize(logits, dim=1)

    def enlarge_prediction(self, prediction: Tensor, size: tuple[int, int]) -> Tensor:
        if prediction.shape[-2:] == tuple(size):
            return self.predict(prediction)
        # channel by channel and in place: normals of a large photograph fill a gigabyte, and are held once
        enlarged = prediction.new_empty((*prediction.shape[:2], *size))
        for channel in range(prediction.shape[1]):
            enlarged[:, channel : channel + 1] = self.resize_prediction(prediction[:, channel : channel + 1], size)
        for rows in enlarged.split(256, -2):
            rows.copy_(self.predict(rows))
        return enlarged

    def code_logits(self, logits: Tensor) -> Tensor:
        return F.normalize(logits, dim=1)

    def to_image(self, label: Tensor) -> tuple[Tensor, Tensor]:
        image = label * label.new_tensor(self.image_signs).reshape(3, 1, 1)
        return image.nan_to_num(nan=self.image_fill), self.valid(label)[:, None]

    def from_image(self, image: Tensor) -> Tensor:
        vectors = image.clamp(-1, 1) * image.new_tensor(self.image_signs).reshape(3, 1, 1)
        length = vectors.norm(dim=1, keepdim=True)
        return vectors / torch.where(length > 0, length, torch.ones_like(length))

    def default_metric(self) -> dict:
        return dict(type='NormalsError')

    def constant_predictions(self, labels: Sequence[np.ndarray]) -> list[np.ndarray]:
        axes = [np.array(a, np.float32) for a in ((0, 0, 1), (0, 1, 0))]
        return [c / np.linalg.norm(c) for c in super().constant_predictions(labels) + axes]

    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        return rgb_picture((as_channels(label) + 1) / 2)

    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        return Legend(unit='R right · G up · B to the viewer')
