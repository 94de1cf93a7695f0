"""Passes of a network over prepared images: batches, one image from several noise seeds, the frames of a video."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmmtl.errors import ConfigError
from mmmtl.models.ensemble import Ensemble, Smoothing, lock_of, sampling
from mmmtl.structures import MTLDataSample

from .options import PredictOptions

Maps = dict[str, np.ndarray]


@torch.no_grad()
def predict_batch(model: Any, data: Mapping[str, list], options: PredictOptions) -> list[tuple[Maps, Maps | None]]:
    """Predict on a batch.

    Args:
        model: The network.
        data: ``inputs`` and ``data_samples``, as its data preprocessor takes them.
        options: Of the call.

    Returns:
        Per image ``{task: (C, H, W)}``, and of an ensemble the spread ``{task: (1, H, W)}`` besides.

    Raises:
        ConfigError: An ensemble of a network whose predictions do not depend on noise.
    """
    ready = model.data_preprocessor(dict(data), False)
    inputs, samples = ready['inputs'], ready['data_samples']
    if options.one_by_one:
        return [predict_image(model, inputs[i : i + 1], sample, options) for i, sample in enumerate(samples)]
    with sampling(model, options.steps, options.seed):
        model.predict(inputs, samples, tasks=options.tasks)
    return [(arrays(sample, options.tasks or model.tasks), None) for sample in samples]


def predict_image(
    model: Any, inputs: Tensor, sample: MTLDataSample, options: PredictOptions
) -> tuple[Maps, Maps | None]:
    """Predict on one image (1, ..., H, W), once or from several noise seeds."""
    with lock_of(model):
        seed = model.noise_seed if options.seed is None else options.seed
    ensemble = Ensemble(model) if options.ensemble > 1 else None
    for member in range(options.ensemble):
        with sampling(model, options.steps, seed + member):
            model.predict(inputs, [sample], tasks=options.tasks, reader=ensemble)
        if member == 1 and ensemble is not None and not ensemble.varies:
            kind = type(getattr(model, 'decoder', model)).__name__
            raise ConfigError(
                f'ensemble={options.ensemble}: the predictions of this network ({kind}) are the same for every noise seed: '
                f'it draws no noise, so there is nothing to average. Leave ensemble out'
            )
    maps = arrays(sample, options.tasks or model.tasks)
    if ensemble is None:
        return maps, None
    spreads = ensemble.spreads()
    return maps, {name: spreads[name].float().cpu().numpy() for name in maps}


def predict_video_frames(
    model: Any, frames: Iterable[tuple[Tensor, MTLDataSample]], options: PredictOptions, smooth: float = 0.0
) -> Iterator[Maps]:
    """``{task: (C, H, W)}`` of every frame of a video, as the frames come.

    Args:
        model: The network.
        frames: See :meth:`mmmtl.models.base.BaseMultiTaskModel.predict_stream`.
        options: Of the call.
        smooth: See :class:`~mmmtl.models.ensemble.Smoothing`.

    Raises:
        ConfigError: An ensemble, or ``smooth`` out of [0, 1).
    """
    if options.ensemble > 1:
        raise ConfigError(f'ensemble={options.ensemble} is for single images; videos have smooth')
    if not 0 <= smooth < 1:
        raise ConfigError(f'smooth must be in [0, 1), got {smooth}')
    stream = model.predict_stream(frames, options.tasks, Smoothing(model, smooth) if smooth else None)
    while True:
        with torch.no_grad(), sampling(model, options.steps, options.seed):  # not while the caller has its turn
            sample = next(stream, None)
        if sample is None:
            return
        yield arrays(sample, options.tasks or model.tasks)


def arrays(sample: MTLDataSample, tasks: Iterable[str]) -> Maps:
    """A sample's predictions ``{task: (C, H, W)}`` in the order of ``tasks``; the sample itself keeps none."""
    return {name: sample.pred.get(name).detach().cpu().numpy() for name in tasks if name in sample.pred}
