"""What a balancing method is."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Balancer(nn.Module):
    """Weights the losses of T tasks, or aggregates their gradients.

    An update has one loss per task: the mean over accumulated batches and over ranks. A task that nobody has
    labelled in the whole update is absent; its loss is 0 and must not sway the others. Every decision is
    taken from values that all ranks share, so that ranks never disagree. All state is in buffers and travels
    in checkpoints.

    Attributes:
        names: The tasks, in order.
        foresees: :meth:`weigh` needs no losses of the update it weighs.
        wants_norms: :meth:`learn` wants gradient norms of the losses.
        aggregates: :meth:`aggregate` is used instead of weights.
    """

    foresees = True
    wants_norms = False
    aggregates = False

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.register_buffer('updates', torch.zeros((), dtype=torch.int64))

    def setup(self, names: Sequence[str], device: torch.device) -> None:
        """Learn how many losses there are; called once before the first update."""
        self.names = list(names)
        self.start(len(self.names))
        self.to(device)

    def start(self, count: int) -> None:
        """Make the buffers for ``count`` tasks."""

    def weigh(self, losses: Tensor | None, present: Tensor | None) -> Tensor:
        """Weights (T,) of the losses, constants.

        Args:
            losses: (T,), the update's losses; None where the method ``foresees``.
            present: (T,) bool, likewise.
        """
        return self.updates.new_ones(len(self.names), dtype=torch.float32)

    def aggregate(self, gradients: Tensor) -> Tensor:
        """One direction (P,) from the gradients (present tasks, P) of the shared parameters."""
        return gradients.sum(0)

    def learn(self, losses: Tensor, present: Tensor, norms: Tensor | None = None) -> None:
        """Take note of a finished update.

        Args:
            losses: (T,), unweighted.
            present: (T,) bool.
            norms: (T,), L2 norms of the gradients of the unweighted losses in the layer looked at; only where
                the method ``wants_norms``.
        """
        self.updates += 1


def adam_step(value: Tensor, gradient: Tensor, moments: Tensor, step: int, lr: float, present: Tensor) -> None:
    """One step of Adam (0.9, 0.999) on the entries of a small vector (T,) whose tasks are present, in place.

    ``moments`` (2, T) are its running averages; the entries of absent tasks, and their averages, rest.
    """
    mean = moments[0].lerp(gradient, 0.1)
    square = moments[1].lerp(gradient**2, 0.001)
    moved = value - lr * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
    moments.copy_(torch.where(present, torch.stack((mean, square)), moments))
    value.copy_(torch.where(present, moved, value))
