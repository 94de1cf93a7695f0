"""One picture that tells everything about one image: the photograph, and ground truth and prediction of every task."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .canvas import INK, MUTED, Canvas
from .legends import LegendBlock

GAP = 10
MARGIN = 24
ROW_LABEL = 22


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
    legend: LegendBlock | None
    smooth: bool


def display_name(name: str) -> str:
    """A configuration key as a person would write it."""
    return name.replace('_', ' ').capitalize()


def draw_panel(
    image: np.ndarray,
    tasks: Mapping,
    gt: Mapping[str, np.ndarray] | None = None,
    pred: Mapping[str, np.ndarray] | None = None,
    *,
    image_next: np.ndarray | None = None,
    title: str = '',
    subtitle: str = '',
    cell_width: int = 256,
    columns: int | None = None,
) -> np.ndarray:
    """Draw the panel of one image.

    Args:
        image: uint8 RGB (H, W, 3).
        tasks: Dict name → Task, in the order of drawing.
        gt: Labels by task; None leaves the row out, a task that is missing in it is drawn as "no label".
        pred: Predictions by task; None leaves the row out.
        image_next: The second frame of a pair, same form as ``image``.
        title: What stands above, usually the sample's id.
        subtitle: A second, quieter line.
        cell_width: Width of one picture in pixels.
        columns: Cells in a row; default: whatever brings the sheet nearest to a screen's shape.

    Returns:
        uint8 RGB (height, width, 3).
    """
    rows = [name for name, maps in (('ground truth', gt), ('prediction', pred)) if maps is not None]
    style = Style((cell_width, max(16, round(cell_width * image.shape[0] / image.shape[1]))))
    task_columns = [make_column(task, gt, pred, style) for task in tasks.values()] if rows else []
    photographs = [image] if image_next is None else [image, image_next]
    span = 2 if len(rows) == 2 and image_next is None else 1
    if len(rows) < 2 and image_next is not None:  # a single row: the second frame becomes a column of its own
        task_columns.insert(0, Column('second frame', [image_next], None, True))
        photographs = [image]
    grid = columns or choose_columns(len(task_columns), span, max(len(rows), 1), style, subtitle)
    bands = split_bands(task_columns, span, max(grid, span))
    return paint(bands, photographs, span, rows, style, title, subtitle)


def make_column(task: Any, gt: Mapping | None, pred: Mapping | None, style: Style) -> Column:
    """Pictures and legend of one task; a prediction is drawn in the value range of its ground truth."""
    label = None if gt is None else gt.get(task.name)
    if label is not None and not np.any(task.valid(np.asarray(label))):
        label = None
    guess = None if pred is None else pred.get(task.name)
    pictures: list[np.ndarray | None] = []
    if gt is not None:
        pictures.append(None if label is None else task.colorize(label))
    if pred is not None:
        pictures.append(None if guess is None else task.colorize(guess, reference=label))
    shown = label if guess is None else guess
    legend = None if shown is None else LegendBlock(read_legend(task, shown, label), style.cell[0], style.text)
    return Column(task.name, pictures, legend, smooth=not task.categorical)


def read_legend(task: Any, shown: np.ndarray, label: np.ndarray | None) -> Any:
    """The task's legend; where a list of classes is drawn next to unknown pixels, these get an entry too."""
    legend = task.legend(shown, reference=label)
    if legend.entries and label is not None and not np.all(task.valid(np.asarray(label))):
        colour = task.colorize(task.blank((1, 1)))[0, 0].tolist()
        legend = dataclasses.replace(legend, entries=[*legend.entries, ('unknown', tuple(colour))])
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
    return max((c.legend.height for c in band if c.legend is not None), default=0)


def paint_name(canvas: Canvas, name: str, x: int, y: int, style: Style, width: int) -> None:
    """The heading over a column of pictures."""
    canvas.text(x, y - round(style.title * 0.45), name, style.title, bold=True, colour=INK, anchor='ls', width=width)


def paint_photographs(
    canvas: Canvas, photographs: list[np.ndarray], x: int, y: int, span: int, tall: int, style: Style
) -> None:
    """The photograph over all rows, or the two frames of a pair below each other."""
    cell_w, cell_h = style.cell
    width = span * cell_w + (span - 1) * GAP
    height = cell_h if span == 1 else tall * cell_h + (tall - 1) * GAP
    paint_name(canvas, 'Photograph' if len(photographs) == 1 else 'Frames 1 and 2', x, y, style, width)
    for index, photograph in enumerate(photographs):
        canvas.picture(x, y + index * (cell_h + GAP), photograph, (width, height), smooth=True)


def paint_column(canvas: Canvas, column: Column, x: int, y: int, rows: list[str], style: Style) -> None:
    """Name, pictures and legend of one task."""
    cell_w, cell_h = style.cell
    paint_name(canvas, display_name(column.name), x, y, style, cell_w)
    for row, picture in enumerate(column.pictures):
        at = (x, y + row * (cell_h + GAP))
        if picture is None:
            missing = 'no label' if rows[row] == 'ground truth' else 'no prediction'
            canvas.placeholder(*at, style.cell, missing, style.text)
        else:
            canvas.picture(*at, picture, style.cell, smooth=column.smooth)
    if column.legend is not None:
        tall = len(column.pictures)
        column.legend.draw(canvas, x, y + tall * cell_h + (tall - 1) * GAP + style.text)
