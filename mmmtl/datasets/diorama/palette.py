"""Colours and materials of Diorama: themes of a room, wardrobes of its figures, patterns of its objects."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

Colour = tuple[float, float, float]

# Patterns. Round ones live on capsules and ellipsoids, flat ones on the faces of boxes, surfaces on the room.
SOLID, BANDS, SECTORS, HALVES, FACE, JACKET = range(6)
TRIM, RIBBON, STRIPES, CHECKER, DOTS, GRAIN = range(6, 12)
PAINT, PLANKS, TILES, CARPET, WALLPAPER, WAINSCOT, DOTTED, BRICKS, RUG_WEAVE = range(12, 21)


class Material(NamedTuple):
    """What a surface looks like.

    Attributes:
        pattern: One of the pattern numbers above.
        colours: Three linear RGB colours in [0, 1]; what each is for depends on the pattern.
        period: Size of the pattern in metres (of :data:`SECTORS`: the number of pairs of sectors).
        extra: Second number of the pattern, see ``texture.py``.
    """

    pattern: int
    colours: tuple[Colour, Colour, Colour]
    period: float = 1.0
    extra: float = 0.0


def linear(code: str) -> Colour:
    """Linear RGB in [0, 1] of an sRGB colour written ``'rrggbb'`` (IEC 61966-2-1)."""
    channels = [int(code[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    r, g, b = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
    return r, g, b


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """``a`` with ``share`` of ``b``."""
    r, g, c = (x + (y - x) * share for x, y in zip(a, b))
    return r, g, c


def tint(draw: Any, colour: Colour, amount: float = 0.12) -> Colour:
    """``colour`` a little lighter or darker and a little off in each channel, still in [0.02, 0.92]."""
    gain = 1 + draw.uniform(-amount, amount)
    r, g, b = (min(0.92, max(0.02, c * gain * (1 + draw.uniform(-amount, amount) / 3))) for c in colour)
    return r, g, b


class Theme(NamedTuple):
    """Colours that go together: walls, floors and ceilings of a room, accents of what stands in it."""

    walls: tuple[Colour, ...]
    floors: tuple[Colour, ...]
    accents: tuple[Colour, ...]


def _theme(walls: str, floors: str, accents: str) -> Theme:
    groups = (tuple(linear(code) for code in codes.split()) for codes in (walls, floors, accents))
    return Theme(*groups)


THEMES = (
    _theme('e9dfd0 c7d3d4 b9c7b1', 'b98a5e a5744a c9a57c', 'e76f51 2a9d8f e9c46a 264653 f4a261'),
    _theme('d8e2dc f3e3d9 c9ada7', 'a8998a 8d7b68 c2b2a3', 'd1495b edae49 00798c 30638e f79256'),
    _theme('bcd4de d9e5ea e6ddcf', 'c19a6b b07f4f 9a8570', 'ef476f ffd166 06a77d 118ab2 f78c6b'),
    _theme('cfe0c3 e7ecd9 f0e6d2', 'b08968 ddb892 99785a', 'bc4749 386641 f2a541 6a994e e0714f'),
    _theme('c8c6dd e4dff0 efe3e6', '8a7f8d a8929b b79c86', '7b2cbf ff9e00 e0568a 3c96b4 5a189a'),
    _theme('f2d7c4 e8c7b2 f5e6d8', 'a47148 8b5e3c c38e63', '1d6a96 283b42 d1495b 85b8cb e9b44c'),
    _theme('9fb7c4 b4c6cf d4dbd8', 'a9a29a 8f8a83 c7bfb4', 'f25f5c ffe066 247ba0 70c1b3 f4845f'),
    _theme('e5d9b6 d6cfa9 efe8cf', '9c6b3e b5835a 86603f', 'a4133c 2b9348 e85d04 0077b6 ffba08'),
)
CEILINGS = tuple(linear(code) for code in ('f6f3ec', 'f3f4f4', 'efe9df', 'e9eef0'))
WHITE, CHALK, INK = linear('f4f1ea'), linear('e4ded2'), linear('2b2930')
SKINS = tuple(linear(code) for code in ('f6d3b8', 'eec1a0', 'dba27c', 'c58a63', 'a56e4a', '8a5a3b', '6b4430'))
HAIRS = tuple(linear(code) for code in ('2a211c', '46301f', '6e4526', 'a8743a', 'd9b266', '8e3b23', '77706c', '23252d'))
TROUSERS = tuple(linear(code) for code in ('2f4a73', '3b3b46', '7d6a4f', '54606b', '46593c', '6f4a52', 'b3a48b'))
SHOES = tuple(linear(code) for code in ('2c2622', '6b3f26', 'e6e2da', 'a33b33', '39424e'))
WOODS = tuple(linear(code) for code in ('a8763e', '7f5539', 'c79a63', '5e4430', 'd7b98e'))
CARTON = tuple(linear(code) for code in ('c39b6a', 'b58a58', 'd2b184'))


def floor_material(draw: Any, theme: Theme) -> Material:
    """Planks, tiles or carpet."""
    base = tint(draw, draw.pick(theme.floors))
    kind = draw.pick((PLANKS, PLANKS, TILES, CARPET))
    if kind == TILES:
        return Material(
            TILES,
            (mix(base, WHITE, 0.5), mix(base, INK, 0.2), mix(base, WHITE, 0.25)),
            draw.uniform(0.45, 0.8),
            draw.pick((0.0, 0.0, 1.0)),
        )
    if kind == CARPET:
        return Material(CARPET, (mix(base, draw.pick(theme.walls), 0.35), base, base), draw.uniform(0.8, 1.6))
    return Material(
        PLANKS, (base, mix(base, INK, 0.55), mix(base, WHITE, 0.25)), draw.uniform(0.16, 0.26), draw.pick((0.0, 1.0))
    )


def wall_material(draw: Any, theme: Theme) -> Material:
    """Paint, wallpaper, wainscot, dots or painted bricks."""
    base = tint(draw, draw.pick(theme.walls), 0.08)
    other = mix(base, draw.pick(theme.accents), draw.uniform(0.1, 0.22))
    kind = draw.pick((PAINT, PAINT, WALLPAPER, WAINSCOT, DOTTED, BRICKS))
    period = {
        WALLPAPER: draw.uniform(0.35, 0.7),
        WAINSCOT: draw.uniform(0.8, 1.1),
        DOTTED: draw.uniform(0.4, 0.6),
        BRICKS: draw.uniform(0.16, 0.24),
    }.get(kind, 1.0)
    if kind == BRICKS:
        other = mix(base, INK, 0.18)
    return Material(kind, (base, other, CHALK), period, draw.uniform(0.08, 0.14))


def rug_material(draw: Any, theme: Theme) -> Material:
    """A bordered rug in two accents."""
    first, second = draw.two(theme.accents)
    return Material(
        RUG_WEAVE, (mix(first, CHALK, 0.25), mix(second, CHALK, 0.35), CHALK), draw.uniform(0.18, 0.34), draw.below(3)
    )


def box_material(draw: Any, accent: Colour, other: Colour, hero: bool = False) -> Material:
    """Painted, gift-wrapped, checked, dotted, or plain cardboard, which no hero is made of."""
    kind = draw.pick((TRIM, TRIM, RIBBON, STRIPES, CHECKER, DOTS, GRAIN))
    if kind in (TRIM, GRAIN) and draw.chance(0.5) and not hero:
        base = tint(draw, draw.pick(CARTON))
        return Material(TRIM, (base, mix(base, INK, 0.25), base), 0.05)
    light = mix(other, WHITE, draw.pick((0.0, 0.55, 0.8)))
    if kind == GRAIN:
        return Material(GRAIN, (accent, mix(accent, INK, 0.4), accent), 0.12)
    period = {TRIM: 0.045, RIBBON: 0.05, STRIPES: 0.2, CHECKER: 0.24, DOTS: 0.2}[kind]
    return Material(kind, (accent, light, light), period * draw.uniform(0.85, 1.3))


def ball_material(draw: Any, accent: Colour, other: Colour) -> Material:
    """Beach ball, banded ball or two halves with a stripe."""
    kind = draw.pick((SECTORS, SECTORS, BANDS, HALVES))
    light = mix(other, WHITE, draw.pick((0.0, 0.7, 0.9)))
    period = float(2 + draw.below(2)) if kind == SECTORS else draw.uniform(0.7, 1.1)
    return Material(kind, (accent, light, mix(accent, WHITE, 0.6)), period)


def wood_material(draw: Any) -> Material:
    """Wood of a table."""
    base = tint(draw, draw.pick(WOODS))
    return Material(GRAIN, (base, mix(base, INK, 0.35), base), 0.1)


def wardrobe(draw: Any, accent: Colour, other: Colour) -> dict[str, Material]:
    """Materials of a dressed figure: skin, face, hair, chest, sleeve, forearm, hips, thigh, shin, shoe."""
    skin, hair = tint(draw, draw.pick(SKINS), 0.06), draw.pick(HAIRS)
    shirt, light = accent, mix(other, WHITE, draw.pick((0.3, 0.75, 0.9)))
    legs = draw.pick(TROUSERS) if draw.chance(0.8) else mix(other, INK, 0.3)

    def plain(colour: Colour) -> Material:
        return Material(SOLID, (colour, colour, colour))

    chest = Material(draw.pick((SOLID, SOLID, BANDS, JACKET)), (shirt, light, light), draw.uniform(0.1, 0.16))
    sleeve = chest if chest.pattern == BANDS else plain(shirt)
    return {
        'skin': plain(skin),
        'face': Material(FACE, (skin, INK, mix(skin, linear('b5453c'), 0.6))),
        'hair': plain(hair),
        'chest': chest,
        'sleeve': sleeve,
        'forearm': sleeve if draw.chance(0.4) else plain(skin),
        'hips': plain(legs),
        'thigh': plain(legs),
        'shin': plain(skin if draw.chance(0.3) else legs),
        'shoe': plain(draw.pick(SHOES)),
    }


def colour_table(materials: list[Material]) -> np.ndarray:
    """The colours of ``materials`` as one float32 array (n, 3 colours, 3 channels)."""
    return np.array([m.colours for m in materials], np.float32)
