"""Explanations drawn: the maps by which a network explains a prediction, in a labelled grid beside the photograph."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from mmmtl.structures import Explanation
from mmmtl.tasks.base import Legend, colour_ramp

from .canvas import MUTED, Canvas, load_font, wrap_words
from .legends import LegendBlock

MARGIN, GAP, GROUP_GAP = 24, 6, 18
TITLE, TEXT = 24, 13
NARROWEST, WIDEST = 76, 220
SHEET = 1600
"""Width in pixels a sheet tries not to exceed."""


def principal_colours(maps: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Maps (C, h, w) of one width → uint8 RGB (h, w, 3) by the three principal components of all their pixels.

    Every map is centred and scaled to the same spread first: at the end of a denoising the map is many times smaller
    than the noise it started from. Components have the sign that makes the largest loading positive; each fills its
    channel between its 1st and 99th percentile.
    """
    channels = maps[0].shape[0]
    flat = [np.asarray(m, np.float64).reshape(channels, -1).T for m in maps]
    flat = [m - m.mean(0) for m in flat]
    pixels = np.concatenate([m / max(np.sqrt(np.mean(m**2)), 1e-12) for m in flat])
    values, vectors = np.linalg.eigh(pixels.T @ pixels)
    basis = vectors[:, np.argsort(values)[::-1][:3]]
    basis = basis * np.sign(basis[np.abs(basis).argmax(0), np.arange(basis.shape[1])])
    scores = pixels @ basis
    if scores.shape[1] < 3:
        scores = np.pad(scores, ((0, 0), (0, 3 - scores.shape[1])), mode='edge')
    low, high = np.quantile(scores, (0.01, 0.99), axis=0)
    coloured = (255 * ((scores - low) / np.maximum(high - low, 1e-12)).clip(0, 1)).astype(np.uint8)
    ends = np.cumsum([m[0].size for m in maps])[:-1]
    return [part.reshape(*m.shape[1:], 3) for part, m in zip(np.split(coloured, ends), maps)]


def colour_cells(explanation: Explanation, tasks: Mapping) -> tuple[list[list[np.ndarray]], Legend | None]:
    """Pictures of all cells, and a legend where one serves all of them."""
    if explanation.kind == 'features':
        return [principal_colours(row) for row in explanation.cells], None
    if explanation.kind == 'prediction':
        missing = [name for name in explanation.rows if name not in tasks]
        if missing:
            raise ValueError(f"explanation '{explanation.name}': no tasks {missing} among {list(tasks)}")
        # all steps are drawn in the value range of the last
        return [
            [tasks[n].colorize(cell, reference=row[-1]) for cell in row]
            for n, row in zip(explanation.rows, explanation.cells)
        ], None
    values = np.concatenate([np.ravel(cell) for row in explanation.cells for cell in row])
    low, high = (float(v) for v in np.quantile(values, (0.005, 0.995)))
    high = max(high, low + 1e-6)
    ramp = colour_ramp(cv2.COLORMAP_INFERNO)
    index = [
        [(255 * (cell[0] - low) / (high - low)).clip(0, 255).astype(np.uint8) for cell in row]
        for row in explanation.cells
    ]
    return [[ramp[i] for i in row] for row in index], Legend(ramp=ramp, low=low, high=high)


@dataclasses.dataclass
class _Grid:
    """Where the cells of an explanation stand."""

    explanation: Explanation
    image: np.ndarray

    def __post_init__(self) -> None:
        font = load_font(TEXT)
        self.groups = max(len(self.explanation.groups), 1)
        self.columns = len(self.explanation.columns)
        self.gutter = round(max(font.getlength(name) for name in self.explanation.rows)) + 12
        free = SHEET - 2 * MARGIN - self.gutter - (self.groups - 1) * GROUP_GAP
        count = self.groups * self.columns + 1.5  # the photograph is one and a half cells wide
        self.cell_w = int(min(max(free / count - GAP, NARROWEST), WIDEST))
        self.cell_h = max(16, round(self.cell_w * self.image.shape[0] / self.image.shape[1]))
        self.photo_w = max(round(self.cell_w * 1.5), 150)
        self.photo_h = round(self.photo_w * self.image.shape[0] / self.image.shape[1])
        self.left = MARGIN + self.photo_w + GROUP_GAP + self.gutter
        group_w = self.columns * (self.cell_w + GAP) - GAP
        self.pitch = group_w + GROUP_GAP
        self.right = self.left + self.groups * self.pitch - GROUP_GAP

    def x(self, group: int, column: int) -> int:
        return self.left + group * self.pitch + column * (self.cell_w + GAP)


def draw_explanation(
    explanation: Explanation, image: np.ndarray, tasks: Mapping, *, title: str = '', subtitle: str = ''
) -> np.ndarray:
    """Draw an explanation of one image.

    Args:
        explanation: Its cells are numpy arrays (C, h, w).
        image: Photograph, uint8 RGB (H, W, 3).
        tasks: ``{name: Task}``, for predictions.
        title: Put before the explanation's own title, usually the image's name.
        subtitle: A quiet line in front of the explanation's note.

    Returns:
        uint8 RGB (height, width, 3).
    """
    pictures, legend = colour_cells(explanation, tasks)
    grid = _Grid(explanation, image)
    width = max(grid.right + MARGIN, 720)
    head = ' · '.join(filter(None, [title, explanation.title]))
    notes = wrap_words(' · '.join(filter(None, [subtitle, explanation.note])), load_font(TEXT), width - 2 * MARGIN)
    top = MARGIN + round(TITLE * 1.5) + len(notes) * round(TEXT * 1.5) + 10
    names = round(TEXT * 1.6) * (2 if explanation.groups else 1)
    rows_h = len(pictures) * (grid.cell_h + GAP)
    block = None if legend is None else LegendBlock(legend, grid.photo_w, TEXT)
    side_h = grid.photo_h + (0 if block is None else block.height + 20)
    canvas = Canvas(width, top + names + max(rows_h, side_h) + MARGIN)
    canvas.text(MARGIN, MARGIN, head, TITLE, bold=True, width=width - 2 * MARGIN)
    for i, line in enumerate(notes):
        canvas.text(MARGIN, MARGIN + round(TITLE * 1.5) + i * round(TEXT * 1.5), line, TEXT, colour=MUTED)
    y = top + names
    canvas.text(MARGIN, y - 7, 'photograph', TEXT, colour=MUTED, anchor='ls')
    canvas.picture(MARGIN, y, image, (grid.photo_w, grid.photo_h), smooth=True)
    if block is not None:
        block.draw(canvas, MARGIN, y + grid.photo_h + 20)
    _paint_names(canvas, grid, y)
    for r, row in enumerate(pictures):
        at = y + r * (grid.cell_h + GAP)
        canvas.text(grid.left - 8, at + grid.cell_h / 2, explanation.rows[r].replace('_', ' '), TEXT, anchor='rm')
        for i, picture in enumerate(row):
            canvas.picture(grid.x(*divmod(i, grid.columns)), at, picture, (grid.cell_w, grid.cell_h), smooth=False)
    return canvas.array()


def _paint_names(canvas: Canvas, grid: _Grid, y: int) -> None:
    """Names of groups and columns over the cells."""
    for group in range(grid.groups):
        if grid.explanation.groups:
            name = grid.explanation.groups[group].replace('_', ' ')
            canvas.text(
                grid.x(group, 0),
                y - 7 - round(TEXT * 1.6),
                name,
                TEXT,
                bold=True,
                anchor='ls',
                width=grid.pitch - GROUP_GAP,
            )
        for column, name in enumerate(grid.explanation.columns):
            canvas.text(grid.x(group, column), y - 7, name, TEXT, colour=MUTED, anchor='ls', width=grid.cell_w)
