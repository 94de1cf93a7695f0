"""What every decoder shares: the contract with the model, and losses on partially labelled batches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.ops.precision import to_float32
from mmmtl.ops.take_rows import take_rows
from mmmtl.tasks import Task, build_tasks

Targets = Mapping[str, 'tuple[Tensor, Tensor]']
"""Per task labelled in the batch: positions of its n labelled samples (n,), and their labels (n, ...)."""

LOSS_REDUCTIONS = ('batch', 'sample', 'balanced')


def zero_loss(*modules: nn.Module) -> Tensor:
    """An exact zero that every parameter of ``modules`` takes part in, so that each has a (zero) gradient."""
    return sum(p.flatten()[:0].sum() for module in modules for p in module.parameters())  # type: ignore[return-value]


class Decoder(BaseModule):
    """Multi-level features → a raw map per task.

    Args:
        tasks: ``{name: Task or config}``.
        in_channels: Channels of the feature maps.
        strides: Strides of the feature maps relative to the image.
        loss_reduction: How the losses of a partially labelled batch of B samples and T tasks add up. ``batch``:
            a task's loss is taken over all its labelled samples together. ``sample``: every labelled (sample,
            task) pair has a loss of its own, with its own normaliser, and pairs are summed and divided by B.
            ``balanced``: as ``sample``, and a sample with L labelled tasks counts T / L times, so that every
                image weighs the same (published DiffusionMTL).
    """

    aux_modules: tuple[str, ...] = ()
    """Names of submodules that work in training alone."""
    sampling_steps: int | None = None
    """How many steps a prediction takes, where they may be chosen; None: one pass, or the chain of steps of the training."""

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        init_cfg: dict | None = None,
        loss_reduction: str = 'batch',
    ) -> None:
        super().__init__(init_cfg)
        if loss_reduction not in LOSS_REDUCTIONS:
            raise ConfigError(
                f"{type(self).__name__}: loss_reduction must be one of {LOSS_REDUCTIONS}, got '{loss_reduction}'."
                f'{suggest(loss_reduction, LOSS_REDUCTIONS)}'
            )
        self.loss_reduction = loss_reduction
        self.tasks: dict[str, Task] = build_tasks(tasks)
        self.in_channels, self.strides = list(in_channels), list(strides)

    @abstractmethod
    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Weighted losses, ``loss_<task>`` for every task (an exact zero that keeps the graph where nobody is
        labelled).

        Args:
            feats: Maps (B, C_l, h_l, w_l).
            targets: See :data:`Targets`.
            noise: Noise source (``mmmtl.diffusion.noise``).
            size: (H, W) of the network's input.
        """

    @abstractmethod
    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """Raw maps ``{task: (B, C, h, w)}`` of any grid; the model brings them to ``size``."""

    def predict_tasks(
        self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int], tasks: Sequence[str]
    ) -> dict[str, Tensor]:
        """As :meth:`predict`, of some tasks; decoders that need not compute the others for it override it."""
        raw = self.predict(feats, noise, size)
        return {name: raw[name] for name in tasks}

    def loss_and_maps(
        self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int], batch: int | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Losses, and the raw maps of all tasks and samples with their gradients, for a loss put on top.

        Decoders that can give both in one pass override it.

        Args:
            batch: Over how many samples losses are averaged, where ``feats`` holds more views than samples.
        """
        if batch not in (None, len(feats[0])) and self.loss_reduction != 'batch':
            raise ConfigError(f'{type(self).__name__} averages losses over the batch and cannot take several views')
        return self.loss(feats, targets, noise, size), self.predict(feats, noise, size)

    def task_losses(
        self,
        raw: Mapping[str, Tensor],
        targets: Targets,
        size: tuple[int, int],
        prefix: str = '',
        weight: float = 1.0,
        gathered: bool = False,
        batch: int | None = None,
    ) -> dict[str, Tensor]:
        """Losses of raw maps: gather the labelled samples, bring them to the label's grid, apply each task's
        loss.

        Args:
            raw: ``{task: (B, C, h, w)}``.
            targets: Labels of the labelled samples, on the input's grid ``size``.
            size: (H, W) of the network's input.
            prefix: Put before ``loss_<task>``, for example ``aux.``.
            weight: Factor on top of the tasks' own weights.
            gathered: ``raw`` holds the labelled samples alone, (n, C, h, w), and no map for a task without
                any; ``batch`` then says what B is.
        """
        shares = None
        if self.loss_reduction != 'batch' and targets:
            shares = self._sample_shares(targets, batch or len(next(iter(raw.values()))))
        losses = {}
        for name, task in self.tasks.items():
            key, factor = f'{prefix}loss_{name}', task.loss_weight * weight
            if name in targets:
                index, label = targets[name]
                logits = raw[name] if gathered else take_rows(raw[name], index)
                logits = F.interpolate(to_float32(logits), size, mode='bilinear', align_corners=False)
                if shares is None:
                    losses[key] = task.loss(logits, label) * factor
                else:
                    losses[key] = (task.loss(logits, label, per_sample=True) * shares[index]).sum() * factor
            else:
                some = raw[name] if name in raw else next(self.parameters())
                losses[key] = to_float32(some.flatten()[:0]).sum()
        return losses

    def _sample_shares(self, targets: Targets, batch: int) -> Tensor:
        """(B,): what one labelled task of each sample contributes to the sum."""
        index = torch.cat([i for i, _ in targets.values()])
        shares = torch.full((batch,), 1.0 / batch, device=index.device)
        if self.loss_reduction == 'balanced':
            labelled = torch.zeros_like(shares).index_add_(0, index, torch.ones_like(index, dtype=shares.dtype))
            shares = shares * len(self.tasks) / labelled.clamp_min(1)
        return shares


class FeedForwardDecoder(Decoder):
    """A decoder whose raw maps come out of one forward pass, ``self(feats)``, without noise."""

    @abstractmethod
    def forward(self, feats: Sequence[Tensor]) -> Any:
        """Levels → ``{task: raw map (B, C, h, w)}``."""

    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self.loss_and_maps(feats, targets, noise, size)[0]

    def loss_and_maps(
        self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int], batch: int | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        raw = self(feats)
        return self.task_losses(raw, targets, size, batch=batch), raw

    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self(feats)
