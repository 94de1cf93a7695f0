"""Data sets whose samples stand in a list file, one a line, or are found in the folders where no list is given."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmmtl.datasets.io.folders import read_id_list
from mmmtl.datasets.io.storage import glob_files, is_file
from mmmtl.errors import FileError

from .base import MTLDataset


class ListedDataset(MTLDataset):
    """Samples from a split file of relative paths, in the form the data set was published with.

    Args:
        tasks: ``{task name: config or Task}``.
        data_root: Root folder.
        split_file: List of samples, as a path or relative to ``data_root``; default: what the folders hold.
    """

    def __init__(self, tasks: Mapping[str, Any], data_root: str, split_file: str | None = None, **kwargs: Any) -> None:
        self.split_file = split_file
        super().__init__(tasks, data_root, **kwargs)

    @abstractmethod
    def scan(self) -> list[str]:
        """Lines of the list that the folders amount to."""

    @abstractmethod
    def sample(self, columns: list[str]) -> dict | None:
        """The sample of a line, or None where the line says that there is none.

        Raises:
            FileError: The line is not of the expected form.
        """

    @property
    def pairs(self) -> bool:
        """Whether samples need a second frame: it is given, or a label is about it."""
        return self.gives_pairs() or any(task.frames > 1 for task in self.tasks.values())

    def list_samples(self) -> list[dict]:
        where = self.split_file and Path(self.split_file)
        if where and not is_file(where):
            where = Path(self.path(str(where)))
        lines = read_id_list(where) if where else self.scan()
        samples = []
        for line in lines:
            try:
                info = self.sample(line.split())
            except FileError as error:
                raise FileError(f'{where or self.data_root}: {error}') from error
            if info is not None:
                samples.append(info)
        return samples

    def found(self, pattern: str) -> list[str]:
        """Paths under ``data_root`` that match a pattern, relative to it and sorted."""
        return glob_files(self.data_root, pattern)
