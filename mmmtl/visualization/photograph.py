"""The picture a person can look at, out of what the network was given."""

from __future__ import annotations

import os.path as osp
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

__all__ = ['input_photograph', 'original_photograph']


def original_photograph(sample: Any) -> np.ndarray | None:
    """The photograph as it lies on disk, uint8 RGB, or None where there is no file (procedural scenes)."""
    import cv2

    path = sample.get('img_path') if hasattr(sample, 'get') else None
    if not path or not osp.isfile(path):
        return None
    image = cv2.imread(path, cv2.IMREAD_COLOR)
    return None if image is None else np.ascontiguousarray(image[..., ::-1])


def input_photograph(inputs: torch.Tensor, meta: Mapping, mean: Any = None, std: Any = None) -> list[np.ndarray]:
    """What the network saw, without padding: one uint8 RGB (H, W, 3) per frame.

    Args:
        inputs: (3, H, W) or (2, 3, H, W), uint8, or float normalised by ``mean`` and ``std``.
        meta: The sample's metainfo; ``padding`` = (left, right, top, bottom) is cut off.
        mean, std: What the float image was normalised with, on the scale 0 to 255. Without them a float image is
            stretched from its darkest to its brightest value.
    """
    frames = inputs.detach().cpu()
    frames = frames if frames.ndim == 4 else frames[None]
    if frames.dtype != torch.uint8:
        frames = frames.float()
        if mean is not None and std is not None:
            frames = frames * torch.as_tensor(std).float().reshape(-1, 1, 1) + torch.as_tensor(mean).float().reshape(-1, 1, 1)
        elif frames.min() < 0 or frames.max() <= 4:
            low, high = frames.min(), frames.max()
            frames = (frames - low) / (high - low).clamp_min(1e-6) * 255
        frames = frames.round().clamp(0, 255).to(torch.uint8)
    left, right, top, bottom = meta.get('padding', (0, 0, 0, 0))
    height, width = frames.shape[-2:]
    frames = frames[..., top : height - bottom, left : width - right]
    return [np.ascontiguousarray(f.permute(1, 2, 0).numpy()) for f in frames]
