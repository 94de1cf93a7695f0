"""The picture a person can look at, out of what the network was given."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError


def original_photograph(sample: Any) -> np.ndarray | None:
    """The photograph as it lies on disk, uint8 RGB (H, W, 3), or None where there is no file (generated scenes)."""
    path = sample.get('img_path')
    if not path or not osp.isfile(path):
        return None
    try:
        with Image.open(path) as image:
            return np.array(image.convert('RGB'))
    except (OSError, UnidentifiedImageError):
        return None


def input_photograph(inputs: torch.Tensor, meta: Mapping, mean: Any = None, std: Any = None) -> list[np.ndarray]:
    """What the network saw, without padding: one uint8 RGB (H, W, 3) per frame.

    Args:
        inputs: (3, H, W) or (2, 3, H, W), uint8, or float normalised by ``mean`` and ``std``.
        meta: The sample's metainfo; ``padding`` = (left, right, top, bottom) is cut off.
        mean, std: What the float image was normalised with, per channel of values in [0, 1]. Without them a
            float image is stretched from its darkest to its brightest value.
    """
    frames = inputs.detach().cpu()
    frames = frames if frames.ndim == 4 else frames[None]
    if frames.dtype != torch.uint8:
        frames = frames.float()
        if mean is not None and std is not None:
            std, mean = (torch.as_tensor(v).float().reshape(-1, 1, 1) for v in (std, mean))
            frames = (frames * std + mean) * 255
        else:
            low, high = frames.min(), frames.max()
            frames = (frames - low) / (high - low).clamp_min(1e-6) * 255
        frames = frames.round().clamp(0, 255).to(torch.uint8)
    left, right, top, bottom = meta.get('padding', (0, 0, 0, 0))
    height, width = frames.shape[-2:]
    frames = frames[..., top : height - bottom, left : width - right]
    return [np.ascontiguousarray(f.permute(1, 2, 0).numpy()) for f in frames]


def normalisation_of(dataset: Any) -> dict[str, Any]:
    """``mean`` and ``std``, of values in [0, 1], of the normalising step of a dataset's pipeline; empty without one."""
    while not hasattr(dataset, 'pipeline') and hasattr(dataset, 'dataset'):
        dataset = dataset.dataset
    if not hasattr(dataset, 'pipeline') and hasattr(dataset, 'datasets'):
        return normalisation_of(dataset.datasets[0])
    for step in reversed(getattr(getattr(dataset, 'pipeline', None), 'transforms', [])):
        if hasattr(step, 'mean') and hasattr(step, 'std'):
            return dict(mean=step.mean, std=step.std)
    return {}
