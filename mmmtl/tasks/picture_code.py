"""Labels as three-channel images in [-1, 1], the form in which a latent-diffusion autoencoder takes and gives them.

Pure functions on tensors; the formulas are those of StableMTL (arXiv 2506.08013). The tasks' ``to_image`` and
``from_image`` are made of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mmmtl.errors import ConfigError


def channels_to_image(values: Tensor) -> Tensor:
    """(n, C, H, W) → (n, 3, H, W): one channel three times, two as (u, v, u), three as they are.

    Raises:
        ConfigError: More than three channels.
    """
    channels = values.shape[1]
    if channels == 1:
        return values.expand(-1, 3, -1, -1)
    if channels == 2:
        return torch.cat([values, values[:, :1]], 1)
    if channels == 3:
        return values
    raise ConfigError(
        f'an image holds at most three channels, the label has {channels}: the task needs its own '
        f'to_image and from_image'
    )


def image_to_channels(image: Tensor, channels: int) -> Tensor:
    """(B, 3, H, W) → (B, ``channels``, H, W) in [-1, 1]; one channel is the mean, taken before clipping."""
    values = image.mean(1, keepdim=True) if channels == 1 else image[:, :channels]
    return values.clamp(-1, 1)


def quantile_range(values: Tensor, known: Tensor, shares: Sequence[float]) -> tuple[Tensor, Tensor]:
    """Low and high end of every sample's values, (n, 1, 1, 1) each, by quantiles of its known pixels.

    Args:
        values: (n, C, H, W).
        known: Boolean (n, 1, H, W); a sample without a known pixel gets (0, 1).
        shares: Lower and upper quantile in [0, 1], interpolated linearly.
    """
    points = values.new_tensor(shares)
    blank = values.new_tensor([0.0, 1.0])
    ends = [torch.quantile(v[:, k[0]].flatten(), points) if bool(k.any()) else blank for v, k in zip(values, known)]
    low, high = torch.stack(ends).to(values)[:, :, None, None, None].unbind(1)
    return low, high


def peak(values: Tensor) -> Tensor:
    """Largest absolute value of every sample and channel, (n, C, 1, 1); 1 where all are 0 or unknown."""
    largest = torch.nan_to_num(values, nan=0.0).abs().amax((-2, -1), keepdim=True)
    return torch.where(largest > 0, largest, torch.ones_like(largest))


def scaled_palette(palette: Sequence[Sequence[int]], like: Tensor) -> Tensor:
    """(n, 3) colours of 0..255 in [-1, 1], with the device of ``like`` and its dtype (float32 for an integer)."""
    dtype = like.dtype if like.is_floating_point() else torch.float32
    return torch.tensor(palette, device=like.device, dtype=dtype) / 255 * 2 - 1


def nearest_colour(image: Tensor, colours: Tensor) -> Tensor:
    """Index (B, 1, H, W) of the colour (of (n, 3) ``colours``) nearest to every pixel, by Euclidean distance."""
    pixels = image.permute(0, 2, 3, 1)
    distance = torch.cdist(pixels.reshape(-1, 3), colours)
    return distance.min(-1).indices.reshape(pixels.shape[:-1])[:, None]


def share_between(image: Tensor, start: Tensor, end: Tensor) -> Tensor:
    """How far every pixel lies on the way from colour ``start`` (3,) to ``end``: (B, 1, H, W) in [0, 1]."""
    way = (end - start).reshape(1, 3, 1, 1)
    return (((image - start.reshape(1, 3, 1, 1)) * way).sum(1, keepdim=True) / (way * way).sum()).clamp(0, 1)


def check_picture_code(task: Any) -> None:
    """Raise :class:`ConfigError` unless labels of the task become pictures of three channels, and pictures predictions.

    Args:
        task: A :class:`~mmmtl.tasks.Task`; its ``to_image`` and ``from_image`` are tried on a blank label.
    """
    label = torch.from_numpy(task.blank((8, 8)))[None]
    try:
        picture, _ = task.to_image(label)
        values = task.from_image(picture)
    except (ValueError, RuntimeError, IndexError, NotImplementedError) as error:
        raise ConfigError(
            f"tasks['{task.name}']: {type(task).__name__} ({task.label_channels} channels) has no picture that a latent "
            f'model could predict: write its methods to_image(label) and from_image(image) ({error})'
        ) from error
    channels = 1 if task.categorical else task.label_channels
    if picture.shape != (1, 3, 8, 8) or values.shape != (1, channels, 8, 8):
        raise ConfigError(
            f"tasks['{task.name}']: to_image of {type(task).__name__} must give (n, 3, H, W) and from_image "
            f'(B, {channels}, H, W), got {tuple(picture.shape)} and {tuple(values.shape)} for a label of 8x8 pixels'
        )
