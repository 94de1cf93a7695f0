"""Test-time augmentation: the mean of what a network predicts for an image, its mirror images and its enlargements."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from mmmtl.errors import ConfigError, suggest
from mmmtl.tasks import Task

FLIPS: dict[str, tuple[str, ...]] = {
    'none': (),
    'horizontal': ('horizontal',),
    'vertical': ('vertical',),
    'both': ('horizontal', 'vertical'),
}

RawMaps = Callable[[Tensor], Mapping[str, Tensor]]
Resize = Callable[[Task, Tensor, tuple[int, int]], Tensor]
Flip = Callable[[Task, Tensor, str], Tensor]


@dataclass(frozen=True)
class TestTimeAugmentation:
    """Views of an image, the inverse of each on every task's raw map, and the mean in the space the task names.

    The inverse is the task's own: mirrored vectors negate a component, motion in pixels is divided by the enlargement.
    What is averaged is the task's own too (:meth:`mmmtl.tasks.Task.average`): probabilities, unit vectors, metres.

    Args:
        flips: Of ``none``, ``horizontal``, ``vertical`` and ``both`` (turned by 180 degrees).
        scales: Enlargements of the network's input. Each goes with each flip.
        multiple: Enlarged sizes are rounded to multiples of this; a backbone's patch or largest stride.
        zoom: An enlarged image counts as one from nearer by, and distances are multiplied back: for networks trained
            with random scaling that divides distances (``RandomScale``). Otherwise a network is expected to tell
            the same distances at any size.

    Raises:
        ConfigError: An unknown flip, a scale or multiple that is not positive, or nothing at all.
    """

    __test__ = False  # the name is no test's

    flips: Sequence[str] = ('none', 'horizontal')
    scales: Sequence[float] = (1.0,)
    multiple: int = 32
    zoom: bool = False

    def __post_init__(self) -> None:
        for name in ('flips', 'scales'):
            value = getattr(self, name)
            if isinstance(value, (str, int, float)):
                raise ConfigError(f'tta.{name} must be a list, got {value!r}')
            if not value:
                raise ConfigError(f'tta.{name} is empty: no view of the image would be left')
        for flip in self.flips:
            if flip not in FLIPS:
                raise ConfigError(f"tta.flips: '{flip}' is not one of {', '.join(FLIPS)}.{suggest(flip, FLIPS)}")
        if any(scale <= 0 for scale in self.scales) or self.multiple < 1:
            raise ConfigError(f'tta: scales and multiple must be positive, got {list(self.scales)} and {self.multiple}')

    def __call__(
        self,
        raw_maps: RawMaps,
        inputs: Tensor,
        tasks: Mapping[str, Task],
        resize: Resize | None = None,
        flip_map: Flip | None = None,
    ) -> dict[str, Tensor]:
        """Raw maps (V, B, C, H, W) of the V views, brought back to the grid of ``inputs``.

        Args:
            raw_maps: The network: inputs → ``{task: raw map (B, C, H, W)}`` at the inputs' size.
            inputs: (B, 3, H, W) or (B, 2, 3, H, W).
            tasks: ``{name: Task}``.
            resize: How a raw map of a task changes with its grid; default: as the task says (``resize_prediction``).
            flip_map: How a raw map of a task is mirrored; default: as the task says (``flip``).
        """
        size = tuple(inputs.shape[-2:])
        views: dict[str, list[Tensor]] = {name: [] for name in tasks}
        for scale in self.scales:
            scaled = self._resized(inputs, scale)
            nearer = math.sqrt(scaled.shape[-2] * scaled.shape[-1] / (size[0] * size[1]))  # sizes are rounded
            for flip in self.flips:
                for name, raw in raw_maps(mirrored(scaled, flip)).items():
                    for direction in FLIPS[flip]:
                        raw = flip_map(tasks[name], raw, direction) if flip_map else tasks[name].flip(raw, direction)
                    if self.zoom:
                        raw = tasks[name].zoom(raw, 1 / nearer)
                    views[name].append(
                        resize(tasks[name], raw, size) if resize else tasks[name].resize_prediction(raw, size)
                    )
        return {name: torch.stack(maps) for name, maps in views.items() if maps}

    def _resized(self, inputs: Tensor, scale: float) -> Tensor:
        """Inputs enlarged by about ``scale``, to a multiple; as they are where ``scale`` is 1."""
        if scale == 1:
            return inputs
        size = [max(round(n * scale / self.multiple), 1) * self.multiple for n in inputs.shape[-2:]]
        frames = inputs.reshape(-1, *inputs.shape[-3:])
        resized = F.interpolate(frames, size, mode='bilinear', align_corners=False, antialias=scale < 1)
        return resized.reshape(*inputs.shape[:-2], *size)


def mirrored(inputs: Tensor, flip: str) -> Tensor:
    """Images (..., H, W) mirrored as one of the flips says."""
    axes = [-1 if direction == 'horizontal' else -2 for direction in FLIPS[flip]]
    return torch.flip(inputs, axes) if axes else inputs


def build_test_time(options: Mapping[str, Any]) -> TestTimeAugmentation:
    """From a config's ``tta=dict(...)``.

    Raises:
        ConfigError: An option that does not exist, or a wrong value.
    """
    known = [option.name for option in fields(TestTimeAugmentation)]
    for name in options:
        if name not in known:
            raise ConfigError(f"tta has no option '{name}', only {', '.join(known)}.{suggest(name, known)}")
    return TestTimeAugmentation(**options)
