"""TSP-Transformer (Wang et al., "TSP-Transformer: Task-Specific Prompts Boosted Transformer", WACV 2024)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmmtl.errors import ConfigError
from mmmtl.models.layers.inverted_pyramid import InvertedPyramidDecoder
from mmmtl.registry import MODELS


@MODELS.register_module()
class TSPDecoder(InvertedPyramidDecoder):
    """InvPT's decoder, in which every task reads its own last level; the skips see the mean of the tasks' levels.

    Args:
        tasks, in_channels, strides: Of :class:`TaskPromptViT`: four levels, each once per task.
        **kwargs: See :class:`~mmmtl.models.layers.inverted_pyramid.InvertedPyramidDecoder`.

    Raises:
        ConfigError: Another backbone, or one with other tasks.
    """

    def __init__(
        self, tasks: Mapping[str, Any], in_channels: Sequence[int], strides: Sequence[int], **kwargs: Any
    ) -> None:
        count = len(tasks)
        if len(in_channels) != 4 * count:
            raise ConfigError(
                f'TSPDecoder needs backbone=dict(type="TaskPromptViT", tasks=...) with four levels and its own {count} '
                f'tasks, got {len(in_channels)} maps'
            )
        super().__init__(tasks, in_channels[::count], strides[::count], **kwargs)

    def split_levels(self, feats: Sequence[Tensor]) -> tuple[Sequence[Tensor], Tensor, Tensor]:
        count = len(self.tasks)
        finest, fine, _, last = (feats[i * count : (i + 1) * count] for i in range(4))
        # the layers of the skips are linear: the mean of their outputs is their output for the mean
        return last, torch.stack(tuple(fine)).mean(0), torch.stack(tuple(finest)).mean(0)
