"""Samples whose files stay unreadable: named, counted over the workers, and left out up to a limit."""

from __future__ import annotations

import logging

import torch
from mmengine.logging import print_log

from mmmtl.errors import ConfigError, UnreadableError


class UnreadableSamples:
    """The samples of a training set that could not be read; data loaders' workers share the count.

    Args:
        limit: How many may be left out; 0: the first one stops the run.

    Raises:
        ConfigError: No such number.
    """

    def __init__(self, limit: int) -> None:
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 0:
            raise ConfigError(f'max_unreadable: expected a number of samples of at least 0, got {limit!r}')
        self.limit = limit
        self.marks = torch.zeros(0, dtype=torch.uint8)

    def watch(self, samples: int) -> None:
        """Count among this many samples from now on, in memory that the workers share."""
        if self.limit and len(self.marks) != samples:
            self.marks = torch.zeros(samples, dtype=torch.uint8).share_memory_()

    @property
    def count(self) -> int:
        """Samples left out until now."""
        return int(self.marks.sum())

    def note(self, index: int, sample_id: str, error: Exception) -> None:
        """Leave a sample out.

        Raises:
            UnreadableError: There are more than may be left out.
        """
        known = bool(self.marks[index])
        self.marks[index] = 1
        if self.count > self.limit:
            raise UnreadableError(
                f"{self.count} samples could not be read, max_unreadable allows {self.limit}; the last is '{sample_id}': "
                f'{error}'
            ) from error
        if not known:
            print_log(
                f"sample '{sample_id}' is left out, {self.count} of at most {self.limit}: {error}",
                logger='current',
                level=logging.WARNING,
            )
