"""Drawing by hand: text, swatches, colour bars and pictures on one RGB sheet."""

from __future__ import annotations

import functools
import os.path as osp
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

INK = (31, 35, 40)
MUTED = (101, 109, 118)
HAIRLINE = (208, 215, 222)
PAPER = (255, 255, 255)
EMPTY = (246, 248, 250)


@functools.cache
def load_font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib, at ``size`` pixels."""
    import matplotlib

    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSans.ttf'
    return ImageFont.truetype(osp.join(matplotlib.get_data_path(), 'fonts', 'ttf', name), size)


def wrap_words(text: str, font: ImageFont.FreeTypeFont, width: int) -> list[str]:
    """Break ``text`` into lines no wider than ``width`` pixels; a word that is too long is cut with an ellipsis."""
    lines: list[str] = []
    for word in text.split():
        candidate = f'{lines[-1]} {word}' if lines else word
        if lines and font.getlength(candidate) <= width:
            lines[-1] = candidate
        else:
            lines.append(fit(word, font, width))
    return lines


def fit(text: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """``text``, shortened with an ellipsis until it fits into ``width`` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + '…') > width:
        text = text[:-1]
    return text + '…'


class Canvas:
    """A white RGB sheet.

    Args:
        width, height: Size in pixels.
    """

    def __init__(self, width: int, height: int) -> None:
        self.sheet = Image.new('RGB', (width, height), PAPER)
        self.pen = ImageDraw.Draw(self.sheet)

    def array(self) -> np.ndarray:
        """The sheet as uint8 RGB (H, W, 3)."""
        return np.array(self.sheet)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: int,
        *,
        bold: bool = False,
        colour: Any = INK,
        anchor: str = 'la',
        width: float | None = None,
    ) -> float:
        """Write one line with its ``anchor`` (PIL's two letters) at (x, y); returns its length in pixels."""
        font = load_font(size, bold)
        if width is not None:
            text = fit(text, font, width)
        self.pen.text((x, y), text, fill=colour, font=font, anchor=anchor)
        return font.getlength(text)

    def upright_text(self, x: int, y: int, text: str, size: int, colour: Any = MUTED) -> None:
        """Write one line turned by 90 degrees, reading upwards, centred on (x, y)."""
        font = load_font(size)
        left, top, right, bottom = font.getbbox(text)
        label = Image.new('RGB', (int(right) + 4, int(bottom) + 4), PAPER)
        ImageDraw.Draw(label).text((2, 2), text, fill=colour, font=font)
        label = label.rotate(90, expand=True)
        self.sheet.paste(label, (x - label.width // 2, y - label.height // 2))

    def picture(self, x: int, y: int, picture: np.ndarray, size: tuple[int, int], *, smooth: bool) -> None:
        """Paste uint8 RGB (H, W, 3), scaled to ``size`` = (width, height), with a hairline around it.

        ``smooth`` interpolates on enlarging; otherwise pixels stay sharp. Reducing always averages.
        """
        shrinks = picture.shape[1] > size[0]
        method = Image.Resampling.BOX if shrinks and not smooth else Image.Resampling.NEAREST
        if smooth:
            method = Image.Resampling.LANCZOS
        self.sheet.paste(Image.fromarray(np.ascontiguousarray(picture)).resize(size, method), (x, y))
        self.pen.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=HAIRLINE)

    def placeholder(self, x: int, y: int, size: tuple[int, int], text: str, text_size: int) -> None:
        """An empty frame that says why it is empty."""
        hatch = Image.new('RGB', size, EMPTY)
        pen = ImageDraw.Draw(hatch)
        for offset in range(-size[1], size[0], 12):
            pen.line((offset, size[1], offset + size[1], 0), fill=(234, 238, 242))
        self.sheet.paste(hatch, (x, y))
        self.pen.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=HAIRLINE)
        self.text(x + size[0] / 2, y + size[1] / 2, text, text_size, colour=MUTED, anchor='mm')

    def swatch(self, x: int, y: int, side: int, colour: tuple[int, int, int]) -> None:
        """A small square of one colour."""
        outline = HAIRLINE if min(colour) > 215 else None
        self.pen.rounded_rectangle((x, y, x + side - 1, y + side - 1), radius=2, fill=tuple(colour), outline=outline)

    def ramp(self, x: int, y: int, size: tuple[int, int], colours: np.ndarray) -> None:
        """A horizontal colour bar of uint8 (N, 3) ``colours``, first at the left."""
        strip = Image.fromarray(np.ascontiguousarray(colours)[None]).resize(size, Image.Resampling.BILINEAR)
        self.sheet.paste(strip, (x, y))
        self.pen.rectangle((x - 1, y - 1, x + size[0], y + size[1]), outline=HAIRLINE)
