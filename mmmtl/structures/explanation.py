"""What a network shows of how it came to a prediction: maps in a labelled grid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

KINDS = ('features', 'share', 'prediction')


@dataclass
class Explanation:
    """Maps of one image, or of a batch, in a grid that a person can read.

    Attributes:
        name: Short, unique among the explanations of a network; becomes part of a file's name.
        title: What stands above the picture.
        kind: ``features``: any number of channels, drawn by their three principal components, which the maps of a
            row share; ``share``: one channel in [0, 1]; ``prediction``: the prediction of the task that the row is
            named for.
        rows: Names of the rows.
        columns: Names of the columns inside a group.
        cells: Per row, one map per group and column (groups outermost): (C, h, w), or (B, C, h, w) for a batch.
        groups: Names of groups of columns; empty: a single group without a name.
        note: How to read it.

    Raises:
        ValueError: An unknown kind, or a grid with holes.
    """

    name: str
    title: str
    kind: str
    rows: list[str]
    columns: list[str]
    cells: list[list[Any]]
    groups: list[str] = field(default_factory=list)
    note: str = ''

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"explanation '{self.name}': kind must be one of {KINDS}, got '{self.kind}'")
        width = len(self.columns) * max(len(self.groups), 1)
        found = [len(row) for row in self.cells]
        if found != [width] * len(self.rows):
            raise ValueError(
                f"explanation '{self.name}': {len(self.rows)} rows of {width} maps are announced, found {found}"
            )

    def map(self, change: Callable[[Any], Any]) -> Explanation:
        """The explanation with ``change`` applied to every map."""
        return replace(self, cells=[[change(cell) for cell in row] for row in self.cells])
