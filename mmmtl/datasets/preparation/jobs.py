"""Going through thousands of files: a progress bar, several processes, and what is there already is not made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from mmmtl.errors import FileError


@dataclass
class Job:
    """One unit of work.

    Attributes:
        name: What it is called in messages.
        outputs: Files it makes; it is done when all exist.
        arguments: What the function that does it gets besides the outputs.
    """

    name: str
    outputs: dict[str, Path]
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def done(self) -> bool:
        """Whether all its files are there; they are written whole or not at all."""
        return all(path.is_file() for path in self.outputs.values())


def _do(work: Callable[..., None], job: Job) -> str | None:
    try:
        work(job.outputs, **job.arguments)
    except (ValueError, OSError) as error:
        return f'{job.name}: {error}'
    return None


def convert(
    work: Callable[..., None], jobs: Sequence[Job], workers: int = 0, progress: bool = True, title: str = 'converting'
) -> tuple[int, int]:
    """Do the jobs that are not done.

    A job that fails does not stop the others: all failures are told at the end. Start again to resume.

    Args:
        work: A function of a module, called as ``work(outputs, **arguments)``; it writes its files with
            ``mmmtl.utils.files``.
        jobs: What there is to do.
        workers: Processes; 0 for this one alone.
        progress: Show a progress bar with the time left.
        title: Its title.

    Returns:
        How many jobs were done now and how many before. (A job may find that there is nothing to be made.)

    Raises:
        FileError: No job at all, or jobs that failed: names each.
    """
    from tqdm import tqdm

    if not jobs:
        raise FileError(f'{title}: nothing to do: no source files were found')
    left = [job for job in jobs if not job.done]
    faults: list[str] = []
    with tqdm(total=len(jobs), initial=len(jobs) - len(left), desc=title, disable=not progress) as bar:
        for fault in _results(partial(_do, work), left, workers):
            if fault is not None:
                faults.append(fault)
            bar.update()
    if faults:
        listed = '\n'.join(faults[:20] + ([f'and {len(faults) - 20} more'] if len(faults) > 20 else []))
        raise FileError(f'{title}: {len(faults)} of {len(left)} failed (the others are done):\n{listed}')
    return sum(job.done for job in left), len(jobs) - len(left)


def _results(do: Callable[[Job], str | None], jobs: Sequence[Job], workers: int) -> Iterator[str | None]:
    if workers <= 0:
        yield from map(do, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(do, jobs, chunksize=max(1, min(8, len(jobs) // (4 * workers))))
