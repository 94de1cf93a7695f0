"""Procedural textures of Diorama: linear albedo of every pixel, each pattern softened to the size of the pixel."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np

from . import palette as pal
from .furnish import CEILING, FLOOR, WALL
from .scene import RUG_SURFACE, SURFACE_CLASS, SURFACES, Scene
from .trace import Frame, rug_coordinates

_TILE = 256  # cells of the noise tile, a power of two
_WALLS_ALONG_Z = 2  # surfaces below this run along z, the other walls along x
_FLOOR_SURFACE, _CEILING_SURFACE = SURFACE_CLASS.index(FLOOR), SURFACE_CLASS.index(CEILING)


@lru_cache(maxsize=1)
def _noise_tile() -> tuple[np.ndarray, np.ndarray]:
    """Smooth periodic noise (65536,) and white noise (65536,), float32 in about [-1, 1]."""
    rng = np.random.Generator(np.random.PCG64(7))
    tile = np.zeros((_TILE, _TILE))
    for cells, weight in ((16, 0.4), (32, 0.35), (64, 0.3), (128, 0.25)):
        grid = rng.random((cells, cells)) * 2 - 1
        at = np.arange(_TILE) * cells / _TILE
        low = at.astype(int)
        share = at - low
        share = share * share * (3 - 2 * share)
        rows = grid[low] * (1 - share)[:, None] + grid[(low + 1) % cells] * share[:, None]
        tile += weight * (rows[:, low] * (1 - share) + rows[:, (low + 1) % cells] * share)
    white = rng.random(_TILE * _TILE) * 2 - 1
    return tile.astype(np.float32).ravel(), white.astype(np.float32)


def _noise(u: np.ndarray, v: np.ndarray, per_metre: float, stretch: float = 1.0) -> np.ndarray:
    """Smooth noise in about [-1, 1]; ``stretch`` > 1 draws it out along u."""
    mask = _TILE - 1
    i = (u * np.float32(per_metre / stretch) + np.float32(4096)).astype(np.int32) & mask
    j = (v * np.float32(per_metre) + np.float32(4096)).astype(np.int32) & mask
    return _noise_tile()[0].take(j * _TILE + i)


def _hash(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """Noise in [-1, 1] of two integer-valued arrays."""
    return _noise_tile()[1].take((i * 131 + j * 31).astype(np.int32) & (_TILE * _TILE - 1))


def _wave(u: np.ndarray, period: float, width: np.ndarray) -> np.ndarray:
    """Square wave 0/1 of ``period``, 1 around multiples of it, its edges as wide as a pixel ``width``."""
    phase = u * np.float32(1 / period)
    edge = np.float32(0.25) - np.abs(phase - np.rint(phase))
    return np.clip(edge * np.float32(period) / width + np.float32(0.5), 0, 1)


def _lines(u: np.ndarray, period: float, thick: float, width: np.ndarray) -> np.ndarray:
    """Lines ``thick`` metres wide at multiples of ``period``; thinner than a pixel, they fade."""
    phase = u * np.float32(1 / period)
    distance = np.abs(phase - np.rint(phase)) * np.float32(period)
    return _step(np.float32(thick / 2) - distance, width) * np.minimum(np.float32(thick) / width, 1)


def _step(distance: np.ndarray, width: np.ndarray) -> np.ndarray:
    """0 where ``distance`` < 0, 1 where > 0, blurred over a pixel ``width``."""
    return np.clip(distance / width + np.float32(0.5), 0, 1)


def _checker(u: np.ndarray, v: np.ndarray, period: float, width: np.ndarray) -> np.ndarray:
    a, b = _wave(u, period, width), _wave(v, period, width)
    return a + b - 2 * a * b


def _blend(colour: np.ndarray, other: np.ndarray, share: np.ndarray) -> np.ndarray:
    """``colour`` (3, n) or (3, 1) with ``share`` (n,) of ``other`` (3,)."""
    return colour + (other[:, None] - colour) * share


def _boards(
    m: pal.Material, u: np.ndarray, v: np.ndarray, width: np.ndarray, long: float, gap: float, vary: float
) -> np.ndarray:
    """Rows of boards or bricks ``long`` metres long and ``m.period`` wide, shifted from row to row."""
    period = np.float32(m.period)
    row = np.floor(v / period)
    shifted = u / np.float32(long) + _hash(row, row)
    column = np.floor(shifted)
    colours = np.array(m.colours, np.float32)
    tone = 1 + np.float32(vary) * _hash(row, column)
    if m.pattern == pal.PLANKS:
        tone = tone + np.float32(0.07) * _noise(u, v, 110, 9)
    seam = np.maximum(_lines(v, m.period, gap, width), _lines(shifted * np.float32(long), long, gap, width))
    return _blend(colours[0][:, None] * tone, colours[1], seam)


def _wall(m: pal.Material, u: np.ndarray, v: np.ndarray, width: np.ndarray) -> np.ndarray:
    """A wall in metres along (u) and up (v) it."""
    colours = np.array(m.colours, np.float32)
    base, other, chalk = colours
    if m.pattern == pal.BRICKS:
        colour = _boards(m, u, v, width, 2.4 * m.period, 0.016, 0.09)
    else:
        colour = base[:, None] * (1 + np.float32(0.035) * _noise(u, v, 40))
    if m.pattern == pal.WALLPAPER:
        colour = _blend(colour, other, _wave(u, m.period, width))
    elif m.pattern == pal.DOTTED:
        half = np.float32(m.period)
        row = np.rint(v / half)
        du, dv = u / half + np.float32(0.5) * row, v / half - row
        du = du - np.rint(du)
        colour = _blend(colour, other, _step((np.float32(0.22) - np.sqrt(du * du + dv * dv)) * half, width))
    elif m.pattern == pal.WAINSCOT:
        panel = _blend(other[:, None] * np.ones_like(v), chalk, np.float32(0.5) * _lines(u, 0.3, 0.02, width))
        low = _step(np.float32(m.period) - v, width)
        rail = _step(np.float32(0.03) - np.abs(v - np.float32(m.period)), width)
        colour = _blend(colour + (panel - colour) * low, chalk, rail)
    return _blend(colour, chalk, _step(np.float32(m.extra) - v, width))


def _floor(m: pal.Material, x: np.ndarray, z: np.ndarray, width: np.ndarray) -> np.ndarray:
    """A floor in metres."""
    colours = np.array(m.colours, np.float32)
    if m.pattern == pal.PLANKS:
        u, v = (z, x) if m.extra else (x, z)
        return _boards(m, u, v, width, 1.5, 0.012, 0.16)
    tone = 1 + np.float32(0.07 if m.pattern == pal.CARPET else 0.03) * _noise(x, z, 90)
    colour = colours[0][:, None] * tone
    if m.pattern == pal.CARPET:
        return _blend(colour, colours[1], np.float32(0.5) * _wave(x + z, m.period, width))
    if not m.extra:
        colour = _blend(colour, colours[1], _checker(x, z, 2 * m.period, width))
    quarter = np.float32(m.period / 2)
    grout = np.maximum(_lines(x + quarter, m.period, 0.016, width), _lines(z + quarter, m.period, 0.016, width))
    return _blend(colour, colours[2] if not m.extra else colours[1], grout)


def _rug(
    scene: Scene, half: Sequence[float], m: pal.Material, x: np.ndarray, z: np.ndarray, width: np.ndarray
) -> np.ndarray:
    """The rug: a border, and stripes, checks or nothing inside."""
    u, v = rug_coordinates(scene, x, z)
    colours = np.array(m.colours, np.float32)
    edge = np.sqrt(u * u + v * v) if scene.rug_round else np.maximum(np.abs(u), np.abs(v))
    half_u, half_v = (np.float32(h) for h in half)
    colour = colours[0][:, None] * (1 + np.float32(0.08) * _noise(x, z, 120))
    if m.extra == 1:
        colour = _blend(colour, colours[1], _wave(u * half_u, 1.6 * m.period, width))
    elif m.extra == 2:
        colour = _blend(colour, colours[1], _checker(u * half_u, v * half_v, 1.6 * m.period, width))
    band = np.float32(0.07) - np.abs(edge - np.float32(0.84))
    return _blend(colour, colours[2], _step(band * half_v, width))


def _bands(m: pal.Material, q: np.ndarray, size: np.ndarray, width: np.ndarray) -> np.ndarray:
    return _wave(q[1] * np.float32(size[1]), m.period * (2 * size[1] if size[0] == size[1] == size[2] else 1.0), width)


def _sectors(m: pal.Material, q: np.ndarray, size: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Sectors of a beach ball: the sign of a product of planes through its axis."""
    width = width / np.float32(size[0])
    share = np.full(q.shape[1], 0.5, np.float32)
    product = np.float32(1)
    nearest = np.float32(9)
    for k in range(int(m.period)):
        angle = np.pi * k / int(m.period)
        plane = q[0] * np.float32(np.cos(angle)) + q[2] * np.float32(np.sin(angle))
        product = product * plane
        nearest = np.minimum(nearest, np.abs(plane))
    return share + np.copysign(np.minimum(nearest / width, np.float32(0.5)), product)


def _halves(m: pal.Material, q: np.ndarray, size: np.ndarray, width: np.ndarray) -> np.ndarray:
    return _step((np.float32(0.28) - np.abs(q[1])) * np.float32(size[1]), width)


def _jacket(m: pal.Material, q: np.ndarray, size: np.ndarray, width: np.ndarray) -> np.ndarray:
    front = (np.float32(0.32) - np.abs(q[0])) * np.float32(size[0])
    return _step(np.where(q[2] > 0, front, np.float32(-1)), width)


_ROUND: dict[int, Callable[[pal.Material, np.ndarray, np.ndarray, np.ndarray], np.ndarray]] = {
    pal.BANDS: _bands,
    pal.SECTORS: _sectors,
    pal.HALVES: _halves,
    pal.JACKET: _jacket,
}


def _face(m: pal.Material, q: np.ndarray, size: np.ndarray, width: np.ndarray) -> np.ndarray:
    """A face on the +z side of an ellipsoid: two eyes and a mouth."""
    skin, ink, lips = np.array(m.colours, np.float32)
    width = np.maximum(width / np.float32(size[0]), np.float32(0.05))
    x, y = np.abs(q[0]), q[1]
    front = (q[2] > 0).astype(np.float32)
    eye = _step(np.float32(0.15) - np.sqrt((x - np.float32(0.36)) ** 2 + (y + np.float32(0.02)) ** 2), width) * front
    mouth = _step(np.float32(0.07) - np.maximum(np.abs(y + np.float32(0.5)), x - np.float32(0.25)), width) * front
    return _blend(_blend(skin[:, None] * np.ones_like(x), ink, eye), lips, mouth)


def _box(m: pal.Material, q: np.ndarray, size: np.ndarray, width: np.ndarray) -> np.ndarray:
    """Share of the second colour on the faces of a box; every face has its own two coordinates in metres."""
    metres = q * size.astype(np.float32)[:, None]
    if m.pattern == pal.STRIPES:
        return _wave(metres[0] + metres[1] + metres[2], m.period * 1.4, width)
    face = np.abs(q).argmax(axis=0)
    u = np.where(face == 0, metres[2], metres[0])
    v = np.where(face == 1, metres[2], metres[1])
    if m.pattern == pal.GRAIN:
        return np.float32(0.3) + np.float32(0.45) * _noise(u, v, 150, 7)
    if m.pattern == pal.CHECKER:
        return _checker(u, v, m.period, width)
    if m.pattern == pal.RIBBON:
        return _step(np.float32(m.period) - np.minimum(np.abs(u), np.abs(v)), width)
    if m.pattern == pal.DOTS:
        a, b = u / np.float32(m.period), v / np.float32(m.period)
        a, b = a - np.rint(a), b - np.rint(b)
        return _step((np.float32(0.27) - np.sqrt(a * a + b * b)) * np.float32(m.period), width)
    half_u = np.where(face == 0, np.float32(size[2]), np.float32(size[0]))
    half_v = np.where(face == 1, np.float32(size[2]), np.float32(size[1]))
    return _step(np.float32(m.period) - np.minimum(half_u - np.abs(u), half_v - np.abs(v)), width)


def _objects(scene: Scene, seen: Frame, width: np.ndarray) -> np.ndarray:
    """Albedo (3, M) of the pixels on objects."""
    which = seen.index.ravel().take(seen.solid) - SURFACES
    colour = pal.colour_table(scene.materials)[:, 0].T.take(which, axis=1)
    order = np.argsort(which, kind='stable')
    shown, first = np.unique(which[order], return_index=True)
    for n, start, stop in zip(shown.tolist(), first.tolist(), [*first[1:].tolist(), len(order)]):
        material = scene.materials[n]
        if material.pattern == pal.SOLID:
            continue
        pixels = order[start:stop]
        q, w, size = seen.local.take(pixels, axis=1), width.take(pixels), scene.size[n]
        if material.pattern == pal.FACE:
            colour[:, pixels] = _face(material, q, size, w)
            continue
        share = (_box if scene.boxy[n] else _ROUND[material.pattern])(material, q, size, w)
        base, other, cap = np.array(material.colours, np.float32)
        patch = _blend(base[:, None], other, share)
        if material.pattern == pal.SECTORS:
            patch = _blend(patch, cap, _step((np.abs(q[1]) - np.float32(0.92)) * np.float32(size[1]), w))
        colour[:, pixels] = patch
    return colour


def albedo(scene: Scene, seen: Frame, cosine: np.ndarray) -> np.ndarray:
    """Linear albedo, float32 (3, N) in [0, 1].

    Args:
        scene: The scene.
        seen: What its camera sees.
        cosine: (N,) cosine between normals and the directions to the camera.
    """
    index = seen.index.ravel()
    width = seen.depth.ravel() * np.float32(1.1 / seen.focal) / np.maximum(cosine, np.float32(0.2))
    colour = np.empty((3, index.size), np.float32)
    kind = np.array(SURFACE_CLASS, np.int16).take(index, mode='clip')
    kind[seen.solid] = -1
    x, y, z = seen.point
    at = np.flatnonzero(kind == WALL)
    u = np.where(index.take(at) < _WALLS_ALONG_Z, z.take(at), x.take(at))
    colour[:, at] = _wall(scene.surfaces[0], u, y.take(at), width.take(at))
    at = np.flatnonzero(index == _CEILING_SURFACE)
    colour[:, at] = np.array(scene.surfaces[_CEILING_SURFACE].colours[0], np.float32)[:, None]
    at = np.flatnonzero(index == _FLOOR_SURFACE)
    colour[:, at] = _floor(scene.surfaces[_FLOOR_SURFACE], x.take(at), z.take(at), width.take(at))
    at = np.flatnonzero(index == RUG_SURFACE)
    if at.size and scene.rug:
        rug = scene.surfaces[RUG_SURFACE]
        colour[:, at] = _rug(scene, scene.rug[2:4], rug, x.take(at), z.take(at), width.take(at))
    colour[:, seen.solid] = _objects(scene, seen, width.take(seen.solid))
    return np.clip(colour, np.float32(0), np.float32(1))
