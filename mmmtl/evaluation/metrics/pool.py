"""Slow measurements in other processes, while the network predicts the next images."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def automatic_workers() -> int:
    """Processes that measure beside a GPU, at most 4; none where the network itself needs the cores."""
    import torch

    if not torch.cuda.is_available():
        return 0
    return max(1, min(4, (os.cpu_count() or 1) // (2 * max(torch.cuda.device_count(), 1))))


def _timed(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """The result of a call, and its processor time."""
    start = time.process_time()
    return function(*arguments), time.process_time() - start


def _one_thread() -> None:
    import cv2

    cv2.setNumThreads(1)


class MeasurePool:
    """Calls in worker processes whose results come back in the order of the calls.

    Processes are started afresh (not forked), so a GPU in use is no obstacle. At most four calls per worker wait; the
    next one blocks until the oldest is done, so memory stays bounded.

    Args:
        workers: Number of processes; 0 calls at once in this process.

    Attributes:
        seconds: Processor time that the workers have taken.
    """

    def __init__(self, workers: int) -> None:
        self.workers, self.seconds = workers, 0.0
        self._executor: ProcessPoolExecutor | None = None
        self._waiting: deque[tuple[Any, list[tuple[Any, Any]]]] = deque()

    def submit(self, name: Any, calls: list[tuple[Any, Callable[..., Any], tuple]]) -> Iterator[tuple[Any, dict]]:
        """Hand in the calls ``(key, function, arguments)`` of a sample; yields samples that are complete by now.

        Args:
            name: The sample's id.
            calls: What to call; functions and arguments must be picklable when there are workers.

        Yields:
            ``(name, {key: result})`` of earlier samples, in order.
        """
        if not self.workers:
            yield name, {key: function(*arguments) for key, function, arguments in calls}
            return
        if self._executor is None:
            self._executor = ProcessPoolExecutor(self.workers, get_context('spawn'), initializer=_one_thread)
        self._waiting.append((name, [(k, self._executor.submit(_timed, f, *arguments)) for k, f, arguments in calls]))
        while len(self._waiting) > 4 * self.workers:
            yield self._oldest()

    def finish(self) -> Iterator[tuple[Any, dict]]:
        """Yield all that is left and stop the workers."""
        try:
            while self._waiting:
                yield self._oldest()
        finally:
            self._waiting.clear()
            if self._executor is not None:
                self._executor.shutdown(cancel_futures=True)
                self._executor = None

    def _oldest(self) -> tuple[Any, dict]:
        name, results = self._waiting.popleft()
        found = {}
        for key, future in results:
            found[key], spent = future.result()
            self.seconds += spent
        return name, found
