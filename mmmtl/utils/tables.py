"""Tables for a terminal and for pages."""

from __future__ import annotations

from collections.abc import Sequence


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


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown; bars and line ends in cells are escaped. Without a final newline."""

    def line(cells: Sequence[str]) -> str:
        return '| ' + ' | '.join(str(cell).replace('|', '\\|').replace('\n', ' ') for cell in cells) + ' |'

    return '\n'.join([line(header), '|' + '---|' * len(header), *(line(row) for row in rows)])
