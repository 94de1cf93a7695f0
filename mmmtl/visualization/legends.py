"""How a task's legend looks under its pictures: class swatches, a colour bar with its unit, or a hint."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mmmtl.tasks.base import Legend

from .canvas import MUTED, Canvas, load_font, wrap_words

MAX_LINES = 6


def format_value(value: float, span: float) -> str:
    """A number with as many digits as a bar of length ``span`` can show."""
    if 0 < span < 0.02 and abs(value) < 10 * span:
        return f'{value:.2g}'
    digits = max(0, 1 - math.floor(math.log10(span / 2))) if span > 0 else 3
    text = f'{value:.{digits}f}'
    text = text.rstrip('0').rstrip('.') if '.' in text else text
    return '0' if text in ('-0', '') else text


@dataclass
class LegendBlock:
    """A legend laid out for a column.

    Args:
        legend: What :meth:`mmmtl.tasks.Task.legend` returned.
        width: Width of the column in pixels.
        size: Text size in pixels.
    """

    legend: Legend
    width: int
    size: int

    def __post_init__(self) -> None:
        self.line = round(self.size * 1.5)
        self.entries = self._flow() if self.legend.entries else []
        self.hint = (
            [] if self.legend.ramp is not None else wrap_words(self.legend.unit, load_font(self.size), self.width)[:3]
        )

    @property
    def height(self) -> int:
        """Height in pixels."""
        bar = round(self.size * 2.8) if self.legend.ramp is not None else 0
        return bar + self.line * (len(self.entries) + len(self.hint))

    def _flow(self) -> list[list[tuple[int, str, tuple[int, int, int] | None]]]:
        """Entries as lines of (x, name, colour); what does not fit into the lines is counted."""
        font = load_font(self.size)
        swatch, gap = self.size, round(self.size * 0.9)
        lines: list[list] = [[]]
        x = 0
        for index, (name, colour) in enumerate(self.legend.entries):
            words = wrap_words(name, font, self.width - 2 * swatch)
            name = words[0] + ('…' if len(words) > 1 and not words[0].endswith('…') else '')
            need = round(swatch * 1.4 + font.getlength(name))
            if x and x + need > self.width:
                left = len(self.legend.entries) - index
                if len(lines) == MAX_LINES:
                    lines.append([(0, f'and {left} more', None)])
                    return lines
                lines.append([])
                x = 0
            lines[-1].append((x, name, colour))
            x += need + gap
        return lines

    def draw(self, canvas: Canvas, x: int, y: int) -> None:
        """Draw with the upper left corner at (x, y)."""
        if self.legend.ramp is not None:
            self._draw_bar(canvas, x, y, self.legend.ramp)
            y += round(self.size * 2.8)
        for entries in self.entries:
            for offset, name, colour in entries:
                if colour is not None:
                    canvas.swatch(x + offset, y + (self.line - self.size) // 2, self.size, colour)
                    offset += round(self.size * 1.4)
                canvas.text(x + offset, y + self.line / 2, name, self.size, colour=MUTED, anchor='lm')
            y += self.line
        for text in self.hint:
            canvas.text(x, y + self.line / 2, text, self.size, colour=MUTED, anchor='lm')
            y += self.line

    def _draw_bar(self, canvas: Canvas, x: int, y: int, colours: np.ndarray) -> None:
        legend, bar = self.legend, round(self.size * 0.8)
        canvas.ramp(x, y + 2, (self.width, bar), colours)
        span = legend.high - legend.low
        low, middle, high = (format_value(v, span) for v in (legend.low, (legend.low + legend.high) / 2, legend.high))
        if len(legend.unit) > 3:  # a word stands in the middle, a symbol behind the last number
            middle = legend.unit
        elif legend.unit:
            high = f'{high} {legend.unit}'
        for anchor, share, text in (('la', 0.0, low), ('ma', 0.5, middle), ('ra', 1.0, high)):
            canvas.text(
                x + share * self.width, y + bar + round(self.size * 0.55), text, self.size, colour=MUTED, anchor=anchor
            )
