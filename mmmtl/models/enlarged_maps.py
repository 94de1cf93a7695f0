"""Predictions of photographs so large that a gigabyte holds one map of them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch

from mmmtl.structures import plain_map, smallest_integers
from mmmtl.tasks import Task

LARGE = 4096**2
"""Pixels from which on an image's predictions are enlarged task by task, when they are asked for."""


def is_large(size: Sequence[int]) -> bool:
    """Whether an image of (H, W) = ``size`` is one whose maps are enlarged one at a time."""
    return math.prod(size) > LARGE


class EnlargedMaps(Mapping):
    """Predictions of a very large image, kept small: each is enlarged when it is looked up.

    Args:
        small: ``{task: (C, h, w)}``.
        tasks: The tasks.
        size: (H, W) of the image.
        compact: Give class maps in the smallest type of integers instead of int64.
    """

    def __init__(
        self, small: Mapping[str, np.ndarray], tasks: Mapping[str, Task], size: tuple[int, int], compact: bool = False
    ) -> None:
        self.small = {name: smallest_integers(value) for name, value in small.items()}
        self.tasks, self.size, self.compact = tasks, size, compact

    def __getitem__(self, name: str) -> np.ndarray:
        found = self.small[name]
        if found.shape[-2:] != self.size:
            found = self.tasks[name].enlarge_prediction(torch.from_numpy(found)[None], self.size)[0].numpy()
        found = plain_map(found)
        return found if self.compact or found.dtype.kind == 'f' else found.astype(np.int64)

    def __iter__(self) -> Iterator[str]:
        return iter(self.small)

    def __len__(self) -> int:
        return len(self.small)


def thinned(value: np.ndarray) -> np.ndarray:
    """A map of no more than 2048 pixels a side, by leaving out rows and columns."""
    step = -(-max(value.shape[-2:]) // 2048)
    return np.ascontiguousarray(value[..., step // 2 :: step, step // 2 :: step])
