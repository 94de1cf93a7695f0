"""StableMTL on videos: every frame is encoded once, and paired with the next."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from mmmtl.diffusion.noise import SampleNoise
from mmmtl.models.base import Reader
from mmmtl.ops.precision import in_dtype, to_float32
from mmmtl.structures import MTLDataSample


def predict_video(
    model: Any, frames: Iterable[Tensor], names: list[str] | None = None, tasks: Sequence[str] | None = None
) -> Iterator[dict[str, Tensor]]:
    """Pictures of all tasks for every frame of a video.

    Args:
        model: A :class:`~mmmtl.models.stablemtl.model.LatentMultiTaskModel`.
        frames: (B, 3, H, W) in [-1, 1], in order. Frame t is paired with frame t + 1; the last has no successor.
        names: Sample ids of the frames, which seed the noise of a model with ``input_noise='normal'``; may grow while
            frames come. Default: their numbers.
        tasks: What to predict; default: all tasks.

    Yields:
        ``{task: picture (B, 3, H, W)}`` at the frames' size, one frame behind the input; ``model.read`` makes
        predictions of them.
    """
    latents: list[Tensor] = []
    features = None
    read_once = model.auxiliary is None or model.auxiliary_every == 1

    def pictures(number: int) -> dict[str, Tensor]:
        nonlocal features
        name = str(number) if names is None else names[number]
        noise = SampleNoise(model.noise_seed, [name] * len(latents[0]))
        with torch.no_grad(), in_dtype(latents[0], model.predict_dtype):
            if model.auxiliary is not None and number % model.auxiliary_every == 0:
                features = model.auxiliary_stream(latents, noise=noise)[0]
            found = model.decode(model.main_stream(latents, features, tasks, noise, last=read_once))
        return {name: to_float32(picture) for name, picture in found.items()}

    count = 0
    for frame in frames:
        model.check_size(frame)
        with in_dtype(frame, model.predict_dtype):
            latents += model.encode_frames(frame)
        if len(latents) == 2:
            yield pictures(count)
            latents, count = latents[1:], count + 1
    if latents:
        yield pictures(count)


def stream_samples(
    model: Any,
    frames: Iterable[tuple[Tensor, MTLDataSample]],
    tasks: Sequence[str] | None = None,
    reader: Reader | None = None,
) -> Iterator[MTLDataSample]:
    """Predictions of a video by :func:`predict_video`; see ``BaseMultiTaskModel.predict_stream``."""
    waiting: list[MTLDataSample] = []
    names: list[str] = []

    def images() -> Iterator[Tensor]:
        for image, sample in frames:
            waiting.append(sample)
            names.append(str(sample.metainfo.get('sample_id', len(names))))
            yield image

    for pictures in predict_video(model, images(), names=names, tasks=tasks):
        sample = waiting.pop(0)
        sample.pred = model.read_sample(pictures, sample, reader)
        yield sample
