"""From a list of samples to a batch on the device: normalised images and, per task, the labels there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseDataPreprocessor
from torch import Tensor

from mmmtl.errors import ConfigError, InputError
from mmmtl.registry import MODELS
from mmmtl.structures import MTLDataSample, plain_map, without_axis
from mmmtl.tasks import IGNORE, Task

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALISED = 3.0
"""No value of a normalised image is larger: white is 2.64 by ImageNet's statistics."""


@MODELS.register_module()
class MTLDataPreprocessor(BaseDataPreprocessor):
    """Check, normalise and stack images, and gather the labelled maps of every task.

    Images are normalised here and nowhere else: pipelines give uint8, or float of the same range 0..255. Each model
    fills in the statistics it wants.

    Returns ``dict(inputs=(B, 3, H, W) or (B, 2, 3, H, W) float32, data_samples=list, targets={task: (index,
    label)})``: ``index`` int64 (n,) are the places in the batch that have the label, ``label`` is int64 (n,
    H, W) or float32 (n, C, H, W). A task that nobody in the batch has is absent from ``targets``. ``targets``
    is made in training only: in testing labels stay at the original size, in the data samples.

    Images of different sizes are padded at the right and the bottom to the largest; the samples' ``padding``
    and ``img_shape`` say so, and predictions are cropped back. Padding holds 0 after normalisation, the mean colour.

    Args:
        mean: Per channel, of values in [0, 1]; default ImageNet's. None: the pipeline normalises, by a step of its own.
        std: Likewise.
        size_divisor: Pad both sides to a multiple of this.
        frames: Frames the model needs: 1 takes the first of a pair; 2 wants pairs; None takes what comes.
        second_frame: ``duplicate``: where there is one frame, it stands in for the second. None: that is an error.
        non_blocking: Copy to the device asynchronously.
    """

    def __init__(
        self,
        mean: Sequence[float] | None = IMAGENET_MEAN,
        std: Sequence[float] | None = IMAGENET_STD,
        size_divisor: int = 1,
        frames: int | None = None,
        second_frame: str | None = None,
        non_blocking: bool = True,
    ) -> None:
        super().__init__(non_blocking=non_blocking)
        if (mean is None) != (std is None):
            raise ConfigError(
                'model.data_preprocessor: give both mean and std, or both as None (the pipeline normalises)'
            )
        if mean is not None and std is not None and (len(mean) != len(std) or not min(std) > 0):
            raise ConfigError(f'model.data_preprocessor: mean {mean} and std {std} must be as long, and std positive')
        if mean is not None and std is not None and not all(-1 <= v <= 1 for v in (*mean, *std)):
            raise ConfigError(
                f'model.data_preprocessor: mean {mean} and std {std} are those of values in [0, 1], as torchvision and timm '
                f'give them: divide numbers for values in 0..255 by 255'
            )
        if size_divisor < 1:
            raise ConfigError(f'model.data_preprocessor: size_divisor must be at least 1, got {size_divisor}')
        self.size_divisor, self.frames, self.second_frame = size_divisor, frames, second_frame
        self.channels = 3 if mean is None else len(mean)
        self.normalizes = mean is not None
        if mean is not None and std is not None:
            self.register_buffer('mean', torch.tensor(mean, dtype=torch.float32).view(-1, 1, 1), persistent=False)
            self.register_buffer('std', torch.tensor(std, dtype=torch.float32).view(-1, 1, 1), persistent=False)

    def forward(self, data: dict, training: bool = False) -> dict[str, Any]:
        """See the class.

        Args:
            data: ``inputs``: list of (3, H, W) or (2, 3, H, W) or one stacked tensor; ``data_samples``: list,
                may be missing.
            training: Make ``targets``.

        Raises:
            InputError: An image that is not what the model expects; names the sample and what to change.
        """
        if not isinstance(data, Mapping) or 'inputs' not in data:
            raise ConfigError(
                "a batch without 'inputs': the pipeline of a data set ends with dict(type='PackMTLInputs')"
            )
        samples = data.get('data_samples')
        names = [f"sample '{s.metainfo.get('sample_id')}'" for s in samples] if samples else None
        inputs = list(data['inputs'])
        names = names or [f'image {k} of the batch' for k in range(len(inputs))]
        self._check(inputs, names)
        data = self.cast_data(dict(data, inputs=self._same_frames(inputs, names)))
        inputs, samples = list(data['inputs']), data.get('data_samples')
        sides = {side for image in inputs for side in enumerate(image.shape[-2:])}
        if samples is None and (len(sides) > 2 or any(n % self.size_divisor for _, n in sides)):
            samples = [
                MTLDataSample(metainfo=dict(sample_id=str(k))) for k in range(len(inputs))
            ]  # to say what is padding
        samples = None if samples is None else list(samples)
        images = [self._normalize(image, samples[k] if samples else None) for k, image in enumerate(inputs)]
        batch = self._stack(images, samples)
        result: dict[str, Any] = dict(inputs=batch, data_samples=samples)
        if training and samples is not None:
            result['targets'] = stack_targets(samples, tuple(batch.shape[-2:]))
        return result

    def _check(self, images: Sequence[Tensor], names: Sequence[str]) -> None:
        """Raise :class:`InputError` at an image that is not in 0..255 (or, without statistics, not normalised)."""
        small = []
        for image, name in zip(images, names):
            if image.ndim not in (3, 4) or image.shape[-3] != self.channels or (image.ndim == 4 and len(image) > 2):
                raise InputError(
                    f'{name}: the model takes images of {self.channels} channels, ({self.channels}, H, W), or pairs of '
                    f'them, (2, {self.channels}, H, W), found {tuple(image.shape)}. Change what the data set loads, or '
                    f'mean and std of model.data_preprocessor, which say how many channels there are'
                )
            if image.dtype != torch.uint8 and not image.is_floating_point():
                raise InputError(f'{name}: an image must be uint8 or float with values 0..255, found {image.dtype}')
            if image.dtype == torch.uint8:
                if not self.normalizes:
                    raise InputError(
                        f'{name}: uint8 images, but neither the pipeline nor model.data_preprocessor (mean, std) '
                        f'normalises them: give the latter mean and std'
                    )
                continue
            low, high = (float(v) for v in image.aminmax())
            if not (low > -torch.inf and high < torch.inf):  # NaN compares as false
                raise InputError(f'{name}: the image holds values that are not finite: mend the file or the pipeline')
            largest = max(abs(low), abs(high))
            if not self.normalizes:
                if largest > 20:
                    raise InputError(
                        f'{name}: values from {low:.4g} to {high:.4g}, which are not normalised, and '
                        f'model.data_preprocessor (mean=None, std=None) leaves that to the pipeline: normalise there, or '
                        f'give model.data_preprocessor mean and std'
                    )
                continue
            if low < -64 or high > 320 or (low < 0 and largest <= NORMALISED):
                raise InputError(_unlike(name, low, high))
            small.append(largest <= NORMALISED and bool((image != image.round()).any()))
        if images and len(small) == len(images) and all(small):  # one dark image alone proves nothing
            low, high = (float(v) for v in images[0].aminmax())
            raise InputError(_unlike(names[0], low, high))

    def _same_frames(self, images: Sequence[Tensor], names: Sequence[str]) -> list[Tensor]:
        """Images with the number of frames that the model needs, the same for all."""
        images = [image[0] if image.ndim == 4 and (len(image) == 1 or self.frames == 1) else image for image in images]
        singles = [name for image, name in zip(images, names) if image.ndim == 3]
        pairs = len(singles) < len(images)
        if singles and (pairs or self.frames == 2) and self.second_frame != 'duplicate':
            raise InputError(
                f'{singles[0]} has one frame, '
                + ("but the model's tasks need two" if self.frames == 2 else 'but others of its batch have two')
                + ": say frames=2 in the data set, where it has pairs; or model.second_frame='duplicate', and the frame "
                'stands in for the second; or model.frames=1, and the first frame has to do for all tasks'
            )
        if singles and pairs:
            images = [torch.stack((image, image)) if image.ndim == 3 else image for image in images]
        return images

    def _normalize(self, image: Tensor, sample: MTLDataSample | None) -> Tensor:
        """One image in float32; its padding holds 0, the mean colour, whatever it held before."""
        if not self.normalizes:
            return image.float()
        image = (image.float() / 255 - self.mean) / self.std
        left, right, top, bottom = (0, 0, 0, 0) if sample is None else _own_padding(sample)
        if left or right or top or bottom:
            framed = torch.zeros_like(image)
            inner = (..., slice(top, image.shape[-2] - bottom), slice(left, image.shape[-1] - right))
            framed[inner] = image[inner]
            return framed
        return image

    def levels(self, images: Tensor) -> Tensor:
        """Normalised images (..., C, H, W) as those of 0..255 that they were; those that the pipeline normalises stay."""
        if not self.normalizes:
            return images
        levels = (images * self.std + self.mean) * 255
        whole = levels.round()  # what was a whole number is one again
        return torch.where((levels - whole).abs() < 1e-3, whole, levels)

    def _stack(self, images: list[Tensor], samples: list[MTLDataSample] | None) -> Tensor:
        """Images of different sizes as one batch (B, ..., H, W), padded at the right and the bottom."""
        step = self.size_divisor
        height = -(-max(i.shape[-2] for i in images) // step) * step
        width = -(-max(i.shape[-1] for i in images) // step) * step
        padded = []
        for k, image in enumerate(images):
            down, across = height - image.shape[-2], width - image.shape[-1]
            own = None if samples is None else _own_padding(samples[k])
            if samples is not None and own is not None and (down or across or 'own_padding' in samples[k].metainfo):
                padding = (own[0], own[1] + across, own[2], own[3] + down)
                samples[k].set_metainfo(dict(padding=padding, own_padding=own, img_shape=(height, width)))
            padded.append(F.pad(image, (0, across, 0, down)) if down or across else image)
        return torch.stack(padded)


def _own_padding(sample: MTLDataSample) -> tuple[int, int, int, int]:
    """(left, right, top, bottom) that the pipeline put around an image, before it came into any batch."""
    return sample.metainfo.get('own_padding') or sample.metainfo.get('padding') or (0, 0, 0, 0)


def labels_on_input(
    sample: MTLDataSample, tasks: Mapping[str, Task], inputs: Tensor
) -> dict[str, tuple[Tensor, Tensor]]:
    """The labels of one test sample, which are at the size of its file, on its network's input.

    Args:
        sample: The sample, after the preprocessor.
        tasks: The tasks.
        inputs: The network's input (1, ..., H, W), padding included.

    Returns:
        As :func:`stack_targets`.
    """
    left, right, top, bottom = sample.metainfo.get('padding') or (0, 0, 0, 0)
    size = (inputs.shape[-2], inputs.shape[-1])
    inner = (size[0] - top - bottom, size[1] - left - right)
    moved = MTLDataSample(metainfo=sample.metainfo)
    moved.gt = {
        name: tasks[name].pad(tasks[name].resize(plain_map(sample.gt.get(name)), inner), left, right, top, bottom)
        for name in sample.gt.keys()
        if name in tasks
    }
    return stack_targets([moved.to(inputs.device)], size)


def _unlike(name: str, low: float, high: float) -> str:
    """What is wrong with an image whose values are not in 0..255."""
    what = 'in [0, 1]' if low >= 0 and high <= 1 else 'already normalised' if low < 0 else 'of another range'
    return (
        f'{name}: values from {low:.4g} to {high:.4g}: {what}, but model.data_preprocessor normalises images of 0..255 '
        f'itself. Leave the values as they are in the pipeline (no normalising step, no division by 255), or set '
        f'model.data_preprocessor.mean and std to None if a step of the pipeline is to normalise'
    )


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
                raise InputError(
                    f"sample '{sample.metainfo.get('sample_id')}', task '{name}': label {tuple(label.shape[-2:])} is "
                    f'larger than the images of the batch, {size}: labels must go through the same transforms '
                    f'as the image'
                )
            if down or across:
                label = F.pad(label, (0, across, 0, down), value=IGNORE if categorical else float('nan'))
            index, labels = found.setdefault(name, ([], []))
            index.append(k)
            labels.append(without_axis(label.long() if categorical else label))
    return {
        name: (torch.tensor(index, device=labels[0].device), torch.stack(labels))
        for name, (index, labels) in sorted(found.items())
    }
