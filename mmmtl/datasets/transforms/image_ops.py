"""Colour: a few operations out of nine, each of a random strength (TrivialAugment's, as JTR uses them)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.errors import ConfigError
from mmmtl.registry import TRANSFORMS

from .base import Results, Transform, map_images

OPERATIONS = tuple('Identity Brightness Color Contrast Sharpness Posterize Solarize AutoContrast Equalize'.split())
SIGNED = OPERATIONS[1:5]
"""Operations that weaken as well as strengthen."""
STRENGTHS = 6
"""Strengths are 0 .. 5 of the 31 steps that the operations are defined for."""
_LUMA = (0.2989, 0.587, 0.114)


@TRANSFORMS.register_module()
class RandomImageOps(Transform):
    """Change the colours by ``count`` operations, drawn with replacement, of small random strengths.

    Draws, per operation: its number in :data:`OPERATIONS`, its strength 0 .. 5, and for those of :data:`SIGNED` the sign
    (1: weaken); in a pipeline of the sample's own numbers, in a model of torch's global generator. Both frames of a pair
    get the same operations.

    Args:
        count: Number of operations.
    """

    draws_random = True

    def __init__(self, count: int = 2) -> None:
        if count < 1:
            raise ConfigError(f'RandomImageOps: count must be at least 1, got {count}')
        self.count = count

    def draw(self, below: Callable[[int], int]) -> list[tuple[str, int, int]]:
        """``(operation, strength, sign)`` of each operation in turn; ``below`` draws a whole number below its argument."""
        drawn = []
        for _ in range(self.count):
            name = OPERATIONS[below(len(OPERATIONS))]
            strength = below(STRENGTHS)
            sign = -1 if name in SIGNED and below(2) else 1
            drawn.append((name, strength, sign))
        return drawn

    def change(self, image: Tensor) -> Tensor:
        """RGB (..., 3, H, W) in [0, 1] → the same, changed."""
        for name, strength, sign in self.draw(lambda end: int(torch.randint(end, ()))):
            image = apply_operation(image, name, strength, sign)
        return image

    def transform(self, results: Results) -> Results:
        operations = self.draw(results['rng'].randrange)

        def change(image: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1) / 255
            for name, strength, sign in operations:
                x = apply_operation(x, name, strength, sign)
            return (x * 255).permute(1, 2, 0).numpy().astype(np.float32)

        map_images(results, change)
        return results


def apply_operation(image: Tensor, name: str, strength: int, sign: int = 1) -> Tensor:
    """One operation.

    Args:
        image: RGB (..., 3, H, W) in [0, 1].
        name: Of :data:`OPERATIONS`.
        strength: 0 .. 5 (of 30).
        sign: -1 weakens; for those of :data:`SIGNED`.
    """
    if name in SIGNED:
        factor = 1 + sign * 0.03 * strength
        return (factor * image + (1 - factor) * _weakest(image, name)).clamp(0, 1)
    if name == 'AutoContrast':
        low, high = image.amin((-2, -1), keepdim=True), image.amax((-2, -1), keepdim=True)
        return torch.where(high > low, (image - low) / (high - low), image)
    if name == 'Identity':
        return image
    levels = (image * 255).to(torch.uint8)
    if name == 'Posterize':
        levels = levels & (256 - (1 << round(strength / 7.5)))
    elif name == 'Solarize':
        levels = torch.where(levels.to(image.dtype) >= 255 - 8.5 * strength, 255 - levels, levels)
    else:
        planes = [_equalize(plane) for plane in levels.flatten(0, -3)]
        levels = torch.stack(planes).view(levels.shape)
    return levels.to(image.dtype) / 255


def _weakest(image: Tensor, name: str) -> Tensor:
    """What an image becomes in the limit of the operation's weakest strength: black, grey, even, or smoothed."""
    if name == 'Brightness':
        return torch.zeros_like(image)
    if name == 'Sharpness':
        planes = image.flatten(0, -3)[:, None]
        kernel = image.new_ones(1, 1, 3, 3)
        kernel[..., 1, 1] = 5
        smooth = planes.clone()
        smooth[..., 1:-1, 1:-1] = F.conv2d(planes, kernel / 13)
        return smooth[:, 0].view(image.shape)
    gray = (image * image.new_tensor(_LUMA).view(3, 1, 1)).sum(-3, keepdim=True)
    return gray if name == 'Color' else gray.mean((-2, -1), keepdim=True)


def _equalize(plane: Tensor) -> Tensor:
    """uint8 (H, W) with its histogram made even, as PIL does it."""
    histogram = torch.bincount(plane.flatten().int(), minlength=256)
    filled = histogram[histogram > 0]
    step = int(filled[:-1].sum()) // 255
    if step == 0:
        return plane
    before = torch.cat((histogram.new_zeros(1), histogram.cumsum(0)[:-1]))
    table = ((before + step // 2) // step).clamp(0, 255).to(torch.uint8)
    return table[plane.long()]
