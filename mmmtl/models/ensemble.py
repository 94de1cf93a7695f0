"""Means of predictions in the space that each task names: over noise seeds with their spread, or over time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.tasks import Task

from .base import BaseMultiTaskModel, Size


class Ensemble:
    """A reader (:data:`~mmmtl.models.base.Reader`) that averages what a model predicts for one image several times.

    Nothing but the mean and the sum of squared distances to it (Welford's algorithm) is kept, however many predictions
    come.

    Args:
        model: The model whose raw maps are read.
    """

    def __init__(self, model: BaseMultiTaskModel) -> None:
        self.model = model
        self.counts: dict[str, int] = {}
        self.means: dict[str, Tensor] = {}
        self.squares: dict[str, Tensor] = {}

    def __call__(self, task: Task, views: Tensor, size: Size) -> Tensor:
        """Add one prediction; return the mean of all up to now."""
        new = self.model.to_average(task, views, size).mean(0)
        count = self.counts[task.name] = self.counts.get(task.name, 0) + 1
        if count == 1:
            self.means[task.name], self.squares[task.name] = new, torch.zeros_like(new[:1])
        else:
            mean = self.means[task.name]
            moved = mean + (new - mean) / count
            self.squares[task.name] += ((new - mean) * (new - moved)).sum(0, keepdim=True)
            self.means[task.name] = moved
        return self.model.from_average(task, self.means[task.name])

    @property
    def varies(self) -> bool:
        """Whether any two predictions differed anywhere."""
        return any(bool((square > 0).any()) for square in self.squares.values())

    def spreads(self) -> dict[str, Tensor]:
        """``{task: (1, H, W)}``, see :meth:`mmmtl.tasks.Task.spread`."""
        variances = {n: (s / self.counts[n]).clamp_min(0) for n, s in self.squares.items()}
        return {n: self.model.tasks[n].spread(self.means[n], v) for n, v in variances.items()}


class Smoothing:
    """A reader that averages the predictions of a video over time, each frame weighing less than the next.

    Args:
        model: The model whose raw maps are read.
        share: What of the past goes on into a frame's prediction, in [0, 1); 0: nothing.
    """

    def __init__(self, model: BaseMultiTaskModel, share: float) -> None:
        self.model, self.share = model, share
        self.means: dict[str, Tensor] = {}

    def __call__(self, task: Task, views: Tensor, size: Size) -> Tensor:
        """Add a frame; return the mean of it and its past. A frame of another size starts anew."""
        new = self.model.to_average(task, views, size).mean(0)
        past = self.means.get(task.name)
        if past is not None and past.shape == new.shape:
            new = self.share * past + (1 - self.share) * new
        self.means[task.name] = new
        return self.model.from_average(task, new)


def modules_with_steps(model: nn.Module) -> list[Any]:
    """The modules of a model whose number of sampling steps may be chosen (``sampling_steps``)."""
    return [module for module in model.modules() if getattr(module, 'sampling_steps', None) is not None]


_locks: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
_adding = threading.Lock()


def lock_of(model: Any) -> Any:
    """What one thread at a time holds while a model predicts: options of a call are set on the model for so long."""
    with _adding:
        return _locks.setdefault(model, threading.RLock())


@contextmanager
def sampling(model: Any, steps: int | None = None, seed: int | None = None) -> Iterator[None]:
    """Within it, the model predicts in ``steps`` steps, from noise of ``seed``; None leaves what its config says.

    Other threads that come here wait until it is left.

    Raises:
        ConfigError: ``steps`` of a model that has none to choose.
    """
    choosing = modules_with_steps(model) if steps is not None else []
    if steps is not None and not choosing:
        kind = type(getattr(model, 'decoder', model)).__name__
        raise ConfigError(
            f'steps={steps}: {kind} has no number of sampling steps to choose: it predicts in one pass, or by the chain of '
            f'steps that it was trained with. Leave steps out'
        )
    with lock_of(model):
        kept = [(module, module.sampling_steps) for module in choosing]
        own_seed = model.noise_seed
        try:
            for module in choosing:
                module.sampling_steps = steps
            model.noise_seed = own_seed if seed is None else seed
            yield
        finally:
            for module, before in kept:
                module.sampling_steps = before
            model.noise_seed = own_seed
