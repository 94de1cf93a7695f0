"""Cropped views of every training image, for losses that compare a network with itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import MODELS, TRANSFORMS
from mmmtl.tasks import Task, build_tasks

from .data_preprocessor import MTLDataPreprocessor

Box = tuple[float, int, int, int, int, bool]
"""Scale, top, left, height and width of a crop, mirrored or not."""


@MODELS.register_module()
class CroppedViews(MTLDataPreprocessor):
    """In training, a batch of V · B: the images, then V - 1 times a random crop of each at the same size, with its labels.

    MTPSL's recipe for cross-task consistency (two views) and JTR's (three): the views are cut out of view 0 by their
    RandomScaleCrop. Per crop three draws of torch's global generator say the scale, the row and the column of the
    crop, a fourth whether it is mirrored.

    Args:
        tasks: ``{name: config or Task}``, those of the model: they know how labels change.
        views: V.
        scales: Magnifications, one of which is drawn.
        smooth: Continuous tasks whose labels are interpolated like the image (as published: surface normals); unknown pixels
            spread to their neighbours there.
        flip: Probability that a crop is mirrored, for all crops or for each (published: 0 on NYUD; on Cityscapes 0.5,
            but for JTR's last view).
        transforms: Configs of transforms that change the colours of every view in the end, for example
            ``[dict(type='RandomImageOps')]``: those with a method ``change(image (..., 3, H, W) in [0, 1])``.
        **options: Of :class:`~mmmtl.models.data_preprocessor.MTLDataPreprocessor`.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        views: int = 2,
        scales: Sequence[float] = (1.0, 1.2, 1.5),
        smooth: Sequence[str] = (),
        flip: float | Sequence[float] = 0.0,
        transforms: Sequence[Mapping[str, Any]] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        if min(scales) < 1:
            raise ConfigError(f'CroppedViews: a crop magnifies, scales must be at least 1, got {list(scales)}')
        if views < 2:
            raise ConfigError(f'CroppedViews: views must be at least 2 (the image and a crop of it), got {views}')
        self.tasks, self.scales, self.smooth = build_tasks(tasks), tuple(scales), tuple(smooth)
        # an interpolation keeps values, and those counted in pixels change with the grid
        numbers = [n for n, t in self.tasks.items() if not t.categorical and type(t).resize is Task.resize]
        for name in self.smooth:
            if name not in numbers:
                raise ConfigError(
                    f"CroppedViews: smooth names '{name}', no task whose numbers an interpolation keeps.{suggest(name, numbers)}"
                )
        self.flips = (flip,) * (views - 1) if isinstance(flip, (int, float)) else tuple(flip)
        if len(self.flips) != views - 1:
            raise ConfigError(f'CroppedViews: {views} views are {views - 1} crops, flip says {len(self.flips)}: {flip}')
        if transforms and not self.normalizes:
            raise ConfigError('CroppedViews: transforms need images of 0..255, and mean and std to normalise them')
        self.transforms = [TRANSFORMS.build(dict(transform)) for transform in transforms]
        for transform in self.transforms:
            if not hasattr(transform, 'change'):
                raise ConfigError(
                    f'CroppedViews: {type(transform).__name__} changes more than colours, put it into the pipeline'
                )

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        batch = super().forward(data, training)
        if not training:
            return batch
        inputs = batch['inputs']
        targets = {name: labels for name, labels in batch.get('targets', {}).items() if name in self.tasks}
        count, (height, width) = len(inputs), inputs.shape[-2:]
        images, labels = [inputs], {name: ([index], [label]) for name, (index, label) in targets.items()}
        for view, flip in enumerate(self.flips, 1):
            boxes = [self._draw(height, width, flip) for _ in range(count)]
            images.append(torch.stack([self._image(image, box) for image, box in zip(inputs, boxes)]))
            for name, (index, label) in targets.items():
                labels[name][0].append(index + view * count)
                crops = [self._label(name, y, boxes[i]) for i, y in zip(index.tolist(), label)]
                labels[name][1].append(torch.stack(crops))
        padded = [any(s.metainfo.get('padding') or ()) for s in batch['data_samples'] or ()] or [False] * count
        batch['inputs'] = self._recolor(torch.cat(images), padded * len(images))
        if 'targets' in batch:
            batch['targets'] = {name: (torch.cat(i), torch.cat(y)) for name, (i, y) in labels.items()}
        return batch

    def _draw(self, height: int, width: int, flip: float) -> Box:
        draws = torch.rand(4).tolist()
        scale = self.scales[int(draws[0] * len(self.scales))]
        tall, wide = int(height / scale), int(width / scale)
        top, left = int(draws[1] * (height - tall + 1)), int(draws[2] * (width - wide + 1))
        return scale, top, left, tall, wide, draws[3] < flip

    def _image(self, image: Tensor, box: Box) -> Tensor:
        _, top, left, tall, wide, mirrored = box
        crop = image[..., top : top + tall, left : left + wide]
        frames = crop[None] if crop.ndim == 3 else crop
        view = F.interpolate(frames, image.shape[-2:], mode='bilinear', align_corners=True).reshape(image.shape)
        return view.flip(-1) if mirrored else view

    def _label(self, name: str, label: Tensor, box: Box) -> Tensor:
        scale, top, left, tall, wide, mirrored = box
        size, task = label.shape[-2:], self.tasks[name]
        view: Any = task.crop(label, top, left, tall, wide)
        if name in self.smooth:
            view = task.predict(F.interpolate(view[None], size, mode='bilinear', align_corners=True))[0]
        else:
            view = torch.from_numpy(task.resize(view.cpu().numpy(), tuple(size))).to(label)
        return task.zoom(task.flip(view) if mirrored else view, scale)

    def _recolor(self, views: Tensor, padded: Sequence[bool]) -> Tensor:
        """The views in other colours; padding stays 0."""
        if not self.transforms:
            return views
        changed = []
        for view, framed in zip(views, padded):
            image = self.levels(view).clamp(0, 255) / 255
            for transform in self.transforms:
                image = transform.change(image)
            color = (image - self.mean) / self.std
            changed.append(torch.where((view == 0).all(-3, keepdim=True), 0.0, color) if framed else color)
        return torch.stack(changed)
