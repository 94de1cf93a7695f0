"""From a list of samples to a batch on the device: normalised images and, per task, the labels there are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmmtl.registry import MODELS
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import IGNORE


@MODELS.register_module()
class MTLDataPreprocessor(BaseDataPreprocessor):
    """Stack images, normalise them if the pipeline has not, and gather the labelled maps of every task.

    Returns ``dict(inputs=(B, 3, H, W) or (B, 2, 3, H, W) float32, data_samples=list, targets={task: (index,
    label)})``: ``index`` int64 (n,) are the places in the batch that have the label, ``label`` is int64 (n,
    H, W) or float32 (n, C, H, W). A task that nobody in the batch has is absent from ``targets``. ``targets``
    is made in training only: in testing labels stay at the original size, in the data samples.

    Images of different sizes are padded at the right and the bottom to the largest; the samples' ``padding``
    and ``img_shape`` say so, and predictions are cropped back.

    Args:
        mean: Per RGB channel, of values in [0, 1]; None when the pipeline normalises.
        std: Likewise.
        size_divisor: Pad both sides to a multiple of this.
        non_blocking: Copy to the device asynchronously.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        size_divisor: int = 1,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if (mean is None) != (std is None):
            raise ValueError('MTLDataPreprocessor: give both mean and std, or neither (then the pipeline normalises)')
        if size_divisor < 1:
            raise ValueError(f'MTLDataPreprocessor: size_divisor must be at least 1, got {size_divisor}')
        self.normalizes = mean is not None
        self.size_divisor = size_divisor
        if mean is not None and std is not None:
            self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(3, 1, 1), persistent=False)
            self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(3, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """See the class.

        Args:
            data: ``inputs``: list of (3, H, W) or (2, 3, H, W) or one stacked tensor; ``data_samples``: list,
                may be missing.
            training: Make ``targets``.
        """
        data = self.cast_data(data)
        inputs, samples = list(data['inputs']), data.get('data_samples')
        if samples is not None:
            samples = list(samples)
        kinds = {image.ndim for image in inputs}
        if kinds not in ({3}, {4}):
            raise ValueError(
                f'MTLDataPreprocessor: images must be all (3, H, W) or all (2, 3, H, W), got '
                f'{[tuple(i.shape) for i in inputs]}'
            )
        images = [self._normalize(image, samples[k] if samples else None) for k, image in enumerate(inputs)]
        batch = self._stack(images, samples)
        result: dict[str, Any] = dict(inputs=batch, data_samples=samples)
        if training and samples is not None:
            result['targets'] = stack_targets(samples, tuple(batch.shape[-2:]))
        return result

    def _normalize(self, image: Tensor, sample: MTLDataSample | None) -> Tensor:
        """One image in float32; a frame padded before normalisation is cleared to the mean colour."""
        if not self.normalizes:
            if image.dtype == torch.uint8:
                raise ValueError(
                    'MTLDataPreprocessor: uint8 images, but neither the pipeline (Normalize) nor the data preprocessor '
                    '(mean, std) normalises them'
                )
            return image.float()
        image = (image.float() / 255 - self.mean) / self.std
        left, right, top, bottom = (sample.metainfo.get('padding') if sample is not None else None) or (0, 0, 0, 0)
        if left or right or top or bottom:
            framed = torch.zeros_like(image)
            inner = (..., slice(top, image.shape[-2] - bottom), slice(left, image.shape[-1] - right))
            framed[inner] = image[inner]
            return framed
        return image

    def _stack(self, images: list[Tensor], samples: list[MTLDataSample] | None) -> Tensor:
        step = self.size_divisor
        height = -(-max(i.shape[-2] for i in images) // step) * step
        width = -(-max(i.shape[-1] for i in images) // step) * step
        padded = []
        for k, image in enumerate(images):
            down, across = height - image.shape[-2], width - image.shape[-1]
            if down or across:
                image = torch.nn.functional.pad(image, (0, across, 0, down))
                if samples is not None:
                    left, right, top, bottom = samples[k].metainfo.get('padding') or (0, 0, 0, 0)
                    samples[k].set_metainfo(
                        dict(padding=(left, right + across, top, bottom + down), img_shape=(height, width))
                    )
            padded.append(image)
        return torch.stack(padded)


def stack_targets(samples: Sequence[MTLDataSample], size: tuple[int, int]) -> dict[str, tuple[Tensor, Tensor]]:
    """Gather the labels of a batch per task.

    Args:
        samples: Data samples; a task without a field in ``gt`` is not labelled.
        size: (H, W) of the batch; smaller labels are padded with unknown pixels at the right and the bottom.

    Returns:
        ``{task: (index int64 (n,), label int64 (n, H, W) or float32 (n, C, H, W))}``, by name: the
        same order in every process.
    """
    found: dict[str, tuple[list[int], list[Tensor]]] = {}
    for k, sample in enumerate(samples):
        if 'gt' not in sample:
            continue
        for name in sorted(sample.gt.keys()):  # a PixelData holds its fields in no order
            label = sample.gt.get(name)
            categorical = not label.is_floating_point()
            down, across = size[0] - label.shape[-2], size[1] - label.shape[-1]
            if down < 0 or across < 0:
                raise ValueError(
                    f"sample '{sample.metainfo.get('sample_id')}', task '{name}': label {tuple(label.shape[-2:])} is "
                    f'larger than the images of the batch, {size}: labels must go through the same transforms '
                    f'as the image'
                )
            if down or across:
                label = torch.nn.functional.pad(
                    label, (0, across, 0, down), value=IGNORE if categorical else float('nan')
                )
            index, labels = found.setdefault(name, ([], []))
            index.append(k)
            labels.append(label[0].long() if categorical else label)
    return {
        name: (torch.tensor(index, device=labels[0].device), torch.stack(labels))
        for name, (index, labels) in sorted(found.items())
    }
