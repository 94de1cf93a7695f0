"""The picture a person can look at, out of what the network was given."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch


def input_photograph(inputs: torch.Tensor, meta: Mapping) -> list[np.ndarray]:
    """What the pipeline gave the network, without padding: one uint8 RGB (H, W, 3) per frame.

    Args:
        inputs: (3, H, W) or (2, 3, H, W), uint8, or float of the same range 0..255. Float images of a pipeline that
            normalises by itself are stretched from their darkest to their brightest value.
        meta: The sample's metainfo; the pipeline's ``padding`` = (left, right, top, bottom) is cut off.
    """
    frames = inputs.detach().cpu()
    frames = frames if frames.ndim == 4 else frames[None]
    # a batch may have been padded further since
    left, right, top, bottom = meta.get('own_padding') or meta.get('padding', (0, 0, 0, 0))
    height, width = frames.shape[-2:]
    frames = frames[..., top : height - bottom, left : width - right]
    if frames.dtype != torch.uint8:
        frames = frames.float()
        low, high = frames.min(), frames.max()
        if low < 0 or high <= 1:
            frames = (frames - low) / (high - low).clamp_min(1e-6) * 255
        frames = frames.round().clamp(0, 255).to(torch.uint8)
    return [np.ascontiguousarray(f.permute(1, 2, 0).numpy()) for f in frames]
