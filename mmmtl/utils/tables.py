"""Tables for a terminal and for pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Columns padded to their widest cell under a ruled header.

    Args:
        header: Names of the columns.
        rows: Cells.
        right: Columns that are set flush right (numbers).

    Returns:
        The table without a final newline.
    """
    widths = [max(len(str(row[i])) for row in [header, *rows]) for i in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        padded = [str(c).rjust(w) if i in right else str(c).ljust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return '  '.join(padded).rstrip()

    rule = '  '.join('─' * w for w in widths)
    return '\n'.join([line(header), rule, *(line(row) for row in rows)])


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[Any]], right: Sequence[int] = ()) -> str:
    """A table in Markdown, as :func:`format_table`; bars and line ends in cells are escaped."""

    def line(cells: Sequence[Any]) -> str:
        return '| ' + ' | '.join(str(cell).replace('|', '\\|').replace('\n', ' ') for cell in cells) + ' |'

    rule = ['---:' if i in right else '---' for i in range(len(header))]
    return '\n'.join([line(header), line(rule), *(line(row) for row in rows)])
