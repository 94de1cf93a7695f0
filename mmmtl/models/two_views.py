"""A second, cropped view of every training image, for losses that compare a network with itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.registry import MODELS
from mmmtl.tasks import build_tasks

from .data_preprocessor import MTLDataPreprocessor


@MODELS.register_module()
class TwoViews(MTLDataPreprocessor):
    """In training, a batch of 2B: the images, then a random crop of each at the same size, with its labels.

    MTPSL's recipe for cross-task consistency: view 1 is cut out of view 0 by its RandomScaleCrop. Per image three
    draws of torch's global generator say the scale, the row and the column of the crop, a fourth whether it is
    mirrored.

    Args:
        tasks: ``{name: config or Task}``, those of the model: they know how labels change.
        scales: Magnifications, one of which is drawn.
        flip: Probability that the second view is mirrored (published: 0 on NYUD, 0.5 on Cityscapes).
        **options: Of :class:`~mmmtl.models.data_preprocessor.MTLDataPreprocessor`.
    """

    def __init__(
        self, tasks: Mapping[str, Any], scales: Sequence[float] = (1.0, 1.2, 1.5), flip: float = 0.0, **options: Any
    ) -> None:
        super().__init__(**options)
        if min(scales) < 1:
            raise ValueError(f'TwoViews: a crop magnifies, scales must be at least 1, got {list(scales)}')
        self.tasks, self.scales, self.flip = build_tasks(tasks), tuple(scales), flip

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        batch = super().forward(data, training)
        if not training:
            return batch
        inputs, count = batch['inputs'], len(batch['inputs'])
        height, width = inputs.shape[-2:]
        boxes = [self._draw(height, width) for _ in range(count)]
        views = torch.stack([self._image(image, box) for image, box in zip(inputs, boxes)])
        batch['inputs'] = torch.cat((inputs, views))
        for name, (index, label) in batch.get('targets', {}).items():
            second = torch.stack([self._label(name, y, boxes[i]) for i, y in zip(index.tolist(), label)])
            batch['targets'][name] = (torch.cat((index, index + count)), torch.cat((label, second)))
        return batch

    def _draw(self, height: int, width: int) -> tuple[float, int, int, int, int, bool]:
        """Scale, top, left, height and width of a crop, mirrored or not."""
        draws = torch.rand(4).tolist()
        scale = self.scales[int(draws[0] * len(self.scales))]
        tall, wide = int(height / scale), int(width / scale)
        top, left = int(draws[1] * (height - tall + 1)), int(draws[2] * (width - wide + 1))
        return scale, top, left, tall, wide, draws[3] < self.flip

    def _image(self, image: Tensor, box: tuple[float, int, int, int, int, bool]) -> Tensor:
        _, top, left, tall, wide, mirrored = box
        crop = image[..., top : top + tall, left : left + wide]
        frames = crop[None] if crop.ndim == 3 else crop
        view = F.interpolate(frames, image.shape[-2:], mode='bilinear', align_corners=True).reshape(image.shape)
        return view.flip(-1) if mirrored else view

    def _label(self, name: str, label: Tensor, box: tuple[float, int, int, int, int, bool]) -> Tensor:
        scale, top, left, tall, wide, mirrored = box
        size, task = tuple(label.shape[-2:]), self.tasks[name]
        crop = task.resize(task.crop(label.cpu().numpy(), top, left, tall, wide), size)
        view = task.zoom(task.flip(crop) if mirrored else crop, scale)
        return torch.from_numpy(np.ascontiguousarray(view)).to(label)
