"""Photographs of any size → what a network takes, by its config's pipeline."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.config import Config

from mmmtl.datasets.io.inputs import ImageInput
from mmmtl.datasets.transforms import CentredPad
from mmmtl.datasets.transforms.base import new_results
from mmmtl.errors import ConfigError, suggest
from mmmtl.models.enlarged_maps import is_large
from mmmtl.models.sizes import FITS, fitting_steps, sizes_of
from mmmtl.registry import TRANSFORMS
from mmmtl.utils.trees import dataset_configs


class Preparation:
    """Prepares photographs for a network.

    Args:
        model: The network; ``model.cfg`` is its config.
        fit, max_side: See :class:`~mmmtl.apis.Inferencer`.

    Raises:
        ConfigError: An unknown ``fit``, or a config without a pipeline for photographs.
    """

    def __init__(self, model: Any, fit: str, max_side: int | None) -> None:
        if fit not in FITS:
            raise ConfigError(f"fit must be one of {FITS}, got '{fit}'.{suggest(fit, FITS)}")
        if fit == 'tile' and not hasattr(model, 'decoder'):
            raise ConfigError(f"fit='tile': {type(model).__name__} has no raw maps that could be blended")
        if fit == 'tile' and getattr(model, 'tta', None) is not None:
            raise ConfigError(
                "fit='tile': tiles are predicted from one view of each; set model.tta=None, or choose another fit"
            )
        self.tasks: Mapping[str, Any] = model.tasks
        self.steps = build_pipeline(model.cfg)
        self.sizes, self.fit = sizes_of(model), fit
        self.max_side = (None if fit == 'tile' else self.sizes.max_side) if max_side is None else max_side
        self.fitting = [TRANSFORMS.build(step) for step in fitting_steps(self.sizes, fit)]

    def start(self, sample_id: str, path: str, images: Sequence[np.ndarray]) -> dict[str, Any]:
        """What a pipeline begins with."""
        info = dict(sample_id=sample_id, img_path=path, rng=random.Random(0))
        return new_results(images, self.tasks, info, test_mode=True)

    def reduced(self, item: ImageInput, images: Sequence[np.ndarray], max_side: int | None) -> dict[str, Any]:
        """What a pipeline begins with, of an image whose longer side is at most ``max_side`` (None: the usual one)."""
        results, limit = self.start(item.sample_id, item.path, images), self.max_side if max_side is None else max_side
        return shrink(results, (limit, limit)) if limit and max(images[0].shape[:2]) > limit else results

    def __call__(self, item: ImageInput, images: Sequence[np.ndarray], max_side: int | None = None) -> dict[str, Any]:
        """Images → what the model's ``test_step`` takes for one sample."""
        results = self.reduced(item, images, max_side)
        if results['img'].shape[:2] != images[0].shape[:2] and is_large(images[0].shape[:2]):
            results['ori_shape'] = results['img'].shape[:2]
        for step in self.steps[:-1]:
            limit = fixed_size(step)
            if limit is not None and any(a > b for a, b in zip(results['img'].shape[:2], limit)):
                results = shrink(results, limit)
            results = step(results)
        for step in (*self.fitting, self.steps[-1]):
            results = step(results)
        return results


def shrink(results: dict[str, Any], limit: tuple[int, int]) -> dict[str, Any]:
    """Reduce an image that is larger than ``limit`` = (H, W), in its shape."""
    step = dict(type='Resize', size=limit, keep_ratio=True, shrink_only=True, interpolation='area')
    return TRANSFORMS.build(step)(results)


def photograph_pipeline(cfg: Config) -> Any:
    """Configs of the transforms for photographs: a config's ``infer_pipeline``, else its test pipeline; None without one."""
    if cfg.get('infer_pipeline'):
        return cfg.infer_pipeline
    loaders = [cfg.get(section) for section in ('test_dataloader', 'val_dataloader')]
    datasets = (data for loader in loaders for _, data in dataset_configs(loader, ''))
    return next((data['pipeline'] for data in datasets if data.get('pipeline')), None)


def build_pipeline(cfg: Config) -> list[Any]:
    """The transforms for photographs."""
    steps = photograph_pipeline(cfg)
    if steps is None:
        raise ConfigError(f'{cfg.filename or "the config"} has no test pipeline (test_dataloader.dataset.pipeline)')
    return [TRANSFORMS.build(dict(step)) for step in steps]


def fixed_size(step: Any) -> tuple[int, int] | None:
    """(H, W) that a step of the pipeline pads to and that no image may exceed, or None."""
    size = getattr(step, 'size', None)
    pads = isinstance(step, CentredPad) and step.multiple is None
    return tuple(size) if pads and size is not None else None  # type: ignore[return-value]
