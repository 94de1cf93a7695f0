"""How long the processes of a training exchange gradients."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel


class CommunicationClock:
    """Takes the time from the start of every all-reduce of gradients to its end, waiting for slower processes included.

    It stands in for what ``DistributedDataParallel`` does by itself, and does the same. Several exchanges at a time count
    once.
    """

    def __init__(self) -> None:
        self._spans: list[tuple[Any, Any]] = []
        self._origin: Any = None

    def attach(self, model: Any) -> bool:
        """Watch a network; False where it is none whose gradients are all-reduced, or where another hook does that."""
        if not isinstance(model, DistributedDataParallel):
            return False
        try:
            model.register_comm_hook(None, lambda state, bucket: self._exchange(bucket))
        except RuntimeError:
            return False
        self._origin = None
        return True

    @staticmethod
    def _mark(tensor: Tensor) -> Any:
        """Now: the time, or an event in the stream of the accelerator's work."""
        if not tensor.is_cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def _exchange(self, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
        gradients = bucket.buffer()
        started = self._mark(gradients)
        self._origin = started if self._origin is None else self._origin
        gradients.mul_(1.0 / dist.get_world_size())  # as the reducer itself: by the reciprocal

        def done(future: torch.futures.Future) -> Tensor:
            result = future.value()[0]
            self._spans.append((started, self._mark(result)))
            return result

        return dist.all_reduce(gradients, async_op=True).get_future().then(done)

    def seconds(self) -> float:
        """Time of the exchanges that have ended since the last call."""
        spans, self._spans = self._spans, []
        if not spans:
            return 0.0
        place: Callable[[Any], float] = float
        if not isinstance(spans[0][0], float):
            torch.cuda.synchronize()
            place = lambda event: 1e-3 * self._origin.elapsed_time(event)  # noqa: E731
        total, reached = 0.0, float('-inf')
        for start, end in sorted((place(start), place(end)) for start, end in spans):
            total += max(0.0, end - max(start, reached))
            reached = max(reached, end)
        return total
