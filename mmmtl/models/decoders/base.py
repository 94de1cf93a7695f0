"""What every decoder shares: the contract with the model, and losses on partially labelled batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor

from mmmtl.tasks import Task, build_tasks

__all__ = ['Decoder', 'Targets']

Targets = Mapping[str, 'tuple[Tensor, Tensor]']
"""Per task labelled in the batch: positions of its n labelled samples (n,), and their labels (n, ...)."""


class Decoder(BaseModule):
    """Multi-level features → a raw map per task.

    Args:
        tasks: ``{name: Task or config}``.
        in_channels: Channels of the feature maps.
        strides: Strides of the feature maps relative to the image.
    """

    aux_modules: tuple[str, ...] = ()
    """Names of submodules that work in training alone."""

    def __init__(self, tasks: Mapping[str, Any], in_channels: Sequence[int], strides: Sequence[int],
                 init_cfg: dict | None = None) -> None:  # fmt: skip
        super().__init__(init_cfg)
        self.tasks: dict[str, Task] = build_tasks(tasks)
        self.in_channels, self.strides = list(in_channels), list(strides)

    @abstractmethod
    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Weighted losses, ``loss_<task>`` for every task (an exact zero that keeps the graph where nobody is labelled).

        Args:
            feats: Maps (B, C_l, h_l, w_l).
            targets: See :data:`Targets`.
            noise: Noise source (``mmmtl.diffusion.noise``).
            size: (H, W) of the network's input.
        """

    @abstractmethod
    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Raw maps ``{task: (B, C, h, w)}`` of any grid; the model brings them to ``size``."""

    def task_losses(self, raw: Mapping[str, Tensor], targets: Targets, size: tuple[int, int], prefix: str = '',
                    weight: float = 1.0) -> dict[str, Tensor]:  # fmt: skip
        """Losses of raw maps: gather the labelled samples, bring them to the label's grid, apply each task's loss.

        Args:
            raw: ``{task: (B, C, h, w)}``.
            targets: Labels of the labelled samples, on the input's grid ``size``.
            size: (H, W) of the network's input.
            prefix: Put before ``loss_<task>``, for example ``aux.``.
            weight: Factor on top of the tasks' own weights.
        """
        losses = {}
        for name, task in self.tasks.items():
            logits = raw[name]
            if name in targets:
                index, label = targets[name]
                if len(index) < len(logits):
                    logits = logits[index]
                logits = F.interpolate(logits.float(), size, mode='bilinear', align_corners=False)
                losses[f'{prefix}loss_{name}'] = task.loss(logits, label) * (task.loss_weight * weight)
            else:
                losses[f'{prefix}loss_{name}'] = logits.flatten()[:1].sum() * 0.0
        return losses
