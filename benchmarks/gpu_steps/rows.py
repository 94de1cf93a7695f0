"""What a step is told, and where it puts what it measures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from mmmtl.utils.files import write_json


@dataclass(frozen=True)
class Setting:
    """What every step is told.

    Attributes:
        device: ``cuda``, ``cuda:1``, ``cpu``.
        tiny: Small networks and few repeats, to see that the program runs.
        recordings: Recorded runs that are replayed.
        folder: Where results go.
    """

    device: str
    tiny: bool
    recordings: tuple[str, ...]
    folder: str

    @property
    def kind(self) -> str:
        """Type of the device."""
        return torch.device(self.device).type

    def repeats(self, usual: int) -> int:
        """How often something is repeated."""
        return 1 if self.tiny else usual


@dataclass
class Rows:
    """The rows of a step, written to its file after every one, so that nothing measured is lost.

    Attributes:
        path: JSON file: ``step``, ``rows``, ``seconds``, ``finished``.
        step: Its name.
        deadline: When the step is stopped (``time.monotonic()``).
    """

    path: Path
    step: str
    deadline: float
    rows: list[dict[str, Any]] = field(default_factory=list)
    start: float = field(default_factory=time.monotonic)

    def left(self) -> float:
        """Seconds until the step is stopped."""
        return self.deadline - time.monotonic()

    def add(self, **row: Any) -> dict[str, Any]:
        """Add a row."""
        self.rows.append(row)
        self.write(False)
        return row

    def write(self, finished: bool) -> None:
        """Write what there is."""
        seconds = round(time.monotonic() - self.start, 2)
        write_json(self.path, dict(step=self.step, finished=finished, seconds=seconds, rows=self.rows))

    @contextmanager
    def trying(self, **what: Any) -> Iterator[None]:
        """Within it, what fails becomes a row with its error, and the step goes on."""
        try:
            yield
        except Exception as error:  # a device can fail in ways no list holds, and the next measurement may still run
            self.add(**what, error=f'{type(error).__name__}: {" ".join(str(error).split())[:300]}')
            if torch.cuda.is_available():
                torch.cuda.empty_cache()


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    if torch.device(device).type == 'cuda':
        torch.cuda.synchronize(device)


def seconds_of(
    runs: Iterable[Callable[[], Any]], device: str, repeats: int = 10, limit: float = 5.0, warmup: int = 2
) -> list[float]:
    """Median seconds of every run, measured in turns; fewer repeats (at least 3) where they take longer than ``limit``."""
    runs = list(runs)
    for run in runs:
        for _ in range(warmup):
            run()
    taken: list[list[float]] = [[] for _ in runs]
    start = time.perf_counter()
    for repeat in range(repeats):
        for run, times in zip(runs, taken):
            wait(device)
            before = time.perf_counter()
            run()
            wait(device)
            times.append(time.perf_counter() - before)
        if repeat >= 2 and time.perf_counter() - start > limit:
            break
    return [sorted(times)[len(times) // 2] for times in taken]
