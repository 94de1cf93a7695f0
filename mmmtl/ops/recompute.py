"""Parts of a network that are computed again in the backward pass instead of being kept, batch norms included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.checkpoint import checkpoint

from .dispatch import plain_everywhere
from .norm_act import frozen_statistics


@contextmanager
def unchanged_statistics(module: nn.Module) -> Iterator[None]:
    """Within it, forward passes of ``module`` in training leave the running statistics of its norms as they are."""
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    before = [(m.momentum, m.num_batches_tracked.clone()) for m in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        with frozen_statistics():
            yield
    finally:
        for norm, (momentum, count) in zip(norms, before):
            norm.momentum = momentum
            norm.num_batches_tracked.copy_(count)


class _AtEveryEntry:
    """A context that is entered anew for every backward pass through the same part (losses taken one by one)."""

    def __init__(self, module: nn.Module) -> None:
        self.module = module

    def __enter__(self) -> None:
        self.context = unchanged_statistics(self.module)
        self.context.__enter__()

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)


def recomputed(module: nn.Module, *args: Any, function: Callable | None = None) -> Any:
    """``module(*args)``; where a gradient is recorded, only ``args`` are kept and the rest is computed a second time.

    Args:
        module: The part; its norms count the batch once.
        *args: Its arguments.
        function: What is called instead of ``module``, for example one of its methods.
    """
    call = function or module
    if not torch.is_grad_enabled() or plain_everywhere():
        return call(*args)
    return checkpoint(call, *args, use_reentrant=False, context_fn=lambda: (nullcontext(), _AtEveryEntry(module)))
