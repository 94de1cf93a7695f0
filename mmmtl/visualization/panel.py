"""One picture that tells everything about one image: the photograph, and ground truth and prediction of every task."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mmmtl.tasks.base import UNKNOWN_COLOURS, task_title

from .canvas import INK, MUTED, Canvas
from .legends import LegendBlock
from .uncertainty import draw_spread

GAP = 10
MARGIN = 24
ROW_LABEL = 22
TRUTH = 'ground truth'
"""Name of the row of labels."""


@dataclass
class Style:
    """Sizes that follow from the width of a cell."""

    cell: tuple[int, int]

    @property
    def text(self) -> int:
        return max(10, round(self.cell[0] / 22))

    @property
    def title(self) -> int:
        return round(self.text * 1.45)

    @property
    def heading(self) -> int:
        return round(self.text * 2.0)


@dataclass
class Column:
    """The pictures of one task, from top to bottom (None: no label), and how to read them."""

    name: str
    pictures: list[np.ndarray | None]
    legends: list[LegendBlock]
    smooth: bool

    @property
    def legend_height(self) -> int:
        return sum(legend.height for legend in self.legends)


def draw_panel(
    image: np.ndarray,
    tasks: Mapping,
    gt: Mapping[str, np.ndarray] | None = None,
    pred: Mapping[str, np.ndarray] | None = None,
    spread: Mapping[str, np.ndarray] | None = None,
    **options: Any,
) -> np.ndarray:
    """Draw the panel of one image: ground truth and prediction of every task, and how uncertain it is.

    Args:
        image: uint8 RGB (H, W, 3).
        tasks: Dict name → Task, in the order of drawing.
        gt: Labels by task; None leaves the row out, a task that is missing in it is drawn as "no label".
        pred: Predictions by task; None leaves the row out.
        spread: Uncertainty (1, H, W) by task (:meth:`mmmtl.tasks.Task.spread`); None leaves the row out.
        options: Of :func:`draw_rows`.

    Returns:
        uint8 RGB (height, width, 3).
    """
    rows = {name: maps for name, maps in ((TRUTH, gt), ('prediction', pred)) if maps is not None}
    return draw_rows(image, tasks, rows, spread=spread, **options)


def draw_rows(
    image: np.ndarray,
    tasks: Mapping,
    rows: Mapping[str, Mapping[str, np.ndarray]],
    *,
    spread: Mapping[str, np.ndarray] | None = None,
    reference: Mapping[str, np.ndarray] | None = None,
    image_next: np.ndarray | None = None,
    title: str = '',
    subtitle: str = '',
    cell_width: int = 256,
    columns: int | None = None,
) -> np.ndarray:
    """Draw maps of one image, a column per task and a row for each source of maps.

    Args:
        image: uint8 RGB (H, W, 3).
        tasks: Dict name → Task, in the order of drawing.
        rows: ``{name of the row: {task: map}}``; the row called :data:`TRUTH` holds labels, by whose range of values the
            others are drawn.
        spread: Uncertainty by task, a last row.
        reference: Predictions by task, by whose range of values those without labels are drawn; default: the first row's.
        image_next: The second frame of a pair, same form as ``image``.
        title: What stands above, usually the sample's id.
        subtitle: A second, quieter line.
        cell_width: Width of one picture in pixels.
        columns: Cells in a row; default: whatever brings the sheet nearest to a screen's shape.

    Returns:
        uint8 RGB (height, width, 3).
    """
    style = Style((cell_width, max(16, round(cell_width * image.shape[0] / image.shape[1]))))
    task_columns = [make_column(task, rows, style, spread, reference) for task in tasks.values()] if rows else []
    names = [*rows, 'uncertainty'] if spread is not None else list(rows)
    photographs = [image] if image_next is None else [image, image_next]
    span = 2 if len(names) > 1 and image_next is None else 1
    if len(names) < 2 and image_next is not None:  # a single row: the second frame becomes a column of its own
        task_columns.insert(0, Column('Second frame', [image_next], [], True))
        photographs = [image]
    grid = columns or choose_columns(len(task_columns), span, max(len(names), 1), style, subtitle)
    bands = split_bands(task_columns, span, max(grid, span))
    return paint(bands, photographs, span, names, style, title, subtitle)


def make_column(
    task: Any,
    rows: Mapping[str, Mapping[str, np.ndarray]],
    style: Style,
    spread: Mapping[str, np.ndarray] | None = None,
    references: Mapping[str, np.ndarray] | None = None,
) -> Column:
    """Pictures and legends of one task; predictions are drawn in the value range of their ground truth."""
    maps = {name: row.get(task.name) for name, row in rows.items()}
    label = maps.get(TRUTH)
    if label is not None and not np.any(task.valid(np.asarray(label))):
        label = maps[TRUTH] = None
    known = [name for name, value in maps.items() if value is not None and name != TRUTH]
    own = (references or {}).get(task.name)
    reference = label if label is not None or not known else maps[known[0]] if own is None else own
    pictures = [
        None if value is None else task.colorize(value, reference=None if name == TRUTH else reference)
        for name, value in maps.items()
    ]
    shown = maps[known[-1]] if known else label
    if task.categorical and len(known) > 1:  # the classes of all rows
        shown = np.concatenate([np.ravel(maps[name]) for name in known])  # type: ignore[arg-type]
    legends = [] if shown is None else [read_legend(task, shown, label, reference)]
    if spread is not None:
        picture, legend = draw_spread(task, spread[task.name]) if task.name in spread else (None, None)
        pictures.append(picture)
        legends += [legend] if legend is not None else []
    blocks = [LegendBlock(legend, style.cell[0], style.text) for legend in legends]
    return Column(task_title(task.name), pictures, blocks, smooth=not task.categorical)


def read_legend(task: Any, shown: np.ndarray, label: np.ndarray | None, reference: np.ndarray | None = None) -> Any:
    """The task's legend; where pixels of the label are unknown, their stripes get an entry too."""
    legend = task.legend(shown, reference=reference if label is None else label)
    if label is not None and not np.all(task.valid(np.asarray(label))):
        legend = dataclasses.replace(legend, entries=[*legend.entries, ('unknown', UNKNOWN_COLOURS[0])])
    return legend


def choose_columns(count: int, span: int, rows: int, style: Style, subtitle: str = '') -> int:
    """Cells per row: near a screen's shape, few empty cells at the end."""

    def cost(columns: int) -> float:
        cells = count + span
        bands = math.ceil(cells / columns)
        width = columns * (style.cell[0] + GAP)
        height = bands * (rows * (style.cell[1] + GAP) + 6 * style.text) + 4 * style.heading
        empty = bands * columns - cells
        return abs(math.log(width / height / 1.7)) + 0.25 * empty

    return min(range(min(max(span + 1, 3), count + span), count + span + 1), key=cost)


def split_bands(task_columns: list[Column], span: int, grid: int) -> list[list[Column]]:
    """Tasks in bands of ``grid`` cells; the photograph takes ``span`` cells of the first."""
    first = grid - span
    bands = [task_columns[:first]]
    bands += [task_columns[i : i + grid] for i in range(first, len(task_columns), grid)]
    return bands


def paint(
    bands: list[list[Column]],
    photographs: list[np.ndarray],
    span: int,
    rows: list[str],
    style: Style,
    title: str,
    subtitle: str,
) -> np.ndarray:
    """Put the bands on a sheet."""
    cell_w, cell_h = style.cell
    tall = max(len(rows), 1)
    gutter = ROW_LABEL if len(rows) > 1 else 0
    cells = max(len(band) + (span if i == 0 else 0) for i, band in enumerate(bands))
    width = MARGIN + gutter + cells * cell_w + (cells - 1) * GAP + MARGIN
    head = round(style.heading * 1.35) * bool(title) + round(style.text * 1.6) * bool(subtitle)
    space = round(style.text * 0.9) * bool(head)
    name_h = round(style.title * 1.7)
    heights = [name_h + tall * cell_h + (tall - 1) * GAP + style.text + legend_height(band) for band in bands]
    canvas = Canvas(width, MARGIN + head + space + sum(heights) + 2 * GAP * (len(bands) - 1) + MARGIN)
    if title:
        canvas.text(MARGIN, MARGIN, title, style.heading, bold=True, width=width - 2 * MARGIN)
    if subtitle:
        canvas.text(
            MARGIN,
            MARGIN + head - round(style.text * 1.6),
            subtitle,
            style.text,
            colour=MUTED,
            width=width - 2 * MARGIN,
        )
    top = MARGIN + head + space
    for index, band in enumerate(bands):
        x, y = MARGIN, top + name_h
        if index == 0:
            paint_photographs(canvas, photographs, x, y, span, tall, style)
            x += span * (cell_w + GAP)
        if gutter and band:  # the names of the rows stand beside the first task, not beside the photograph
            for row, text in enumerate(rows):
                canvas.upright_text(x + gutter // 2 - 4, y + row * (cell_h + GAP) + cell_h // 2, text, style.text)
        for column in band:
            paint_column(canvas, column, x + gutter, y, rows, style)
            x += cell_w + GAP
        top += heights[index] + 2 * GAP
    return canvas.array()


def legend_height(band: list[Column]) -> int:
    """Height of the tallest legend of a band."""
    return max((column.legend_height for column in band), default=0)


def paint_name(canvas: Canvas, name: str, x: int, y: int, style: Style, width: int) -> None:
    """The heading over a column of pictures."""
    canvas.text(x, y - round(style.title * 0.45), name, style.title, bold=True, colour=INK, anchor='ls', width=width)


def paint_photographs(
    canvas: Canvas, photographs: list[np.ndarray], x: int, y: int, span: int, tall: int, style: Style
) -> None:
    """The photograph over all rows, or the two frames of a pair below each other."""
    cell_w, cell_h = style.cell
    width = span * cell_w + (span - 1) * GAP
    height = cell_h if span == 1 else min(tall * cell_h + (tall - 1) * GAP, 2 * cell_h + GAP)
    paint_name(canvas, 'Photograph' if len(photographs) == 1 else 'Frames 1 and 2', x, y, style, width)
    for index, photograph in enumerate(photographs):
        canvas.picture(x, y + index * (cell_h + GAP), photograph, (width, height), smooth=True)


def paint_column(canvas: Canvas, column: Column, x: int, y: int, rows: list[str], style: Style) -> None:
    """Name, pictures and legend of one task."""
    cell_w, cell_h = style.cell
    paint_name(canvas, column.name, x, y, style, cell_w)
    for row, picture in enumerate(column.pictures):
        at = (x, y + row * (cell_h + GAP))
        if picture is None:
            missing = 'no label' if rows[row] == TRUTH else 'no prediction'
            canvas.placeholder(*at, style.cell, missing, style.text)
        else:
            canvas.picture(*at, picture, style.cell, smooth=column.smooth)
    y += len(column.pictures) * (cell_h + GAP) - GAP + style.text
    for legend in column.legends:
        legend.draw(canvas, x, y)
        y += legend.height
