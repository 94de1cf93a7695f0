"""Light of Diorama: one lamp with soft shadows, and ambient light dimmed in corners and near contacts.

Shading is a grey factor: albedo times shading is the linear image, exactly.
"""

from __future__ import annotations

import numpy as np

from .figure import HEAD, LOWER_ARM, UPPER_ARM
from .scene import SURFACES, Scene
from .trace import Frame, local_from_world, pixel_rectangles

Triple = np.ndarray | list[np.ndarray]

_LAMP_RADIUS = 0.16  # metres; the softness of shadows
_REACH = 0.3  # metres; how far contacts darken their surroundings
_FADE = 14.0  # square metres; the lamp's light halves at its root


def _dot(a: Triple, b: Triple) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _to_local(rows: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """An affine map (3, 4) of points (3, n); without BLAS, whose last bits differ between processors."""
    return [v[0] * a + v[1] * b + v[2] * c + d for a, b, c, d in rows]


def _capsule_cover(origin: list[np.ndarray], to_lamp: list[np.ndarray], size: np.ndarray, axis: float) -> np.ndarray:
    """Share of the lamp hidden by a unit capsule, from its closest approach to the segment origin + s to_lamp.

    At parameter s the cone of light between a point and the lamp is s times as wide as the lamp.
    """
    ox, oy, oz = origin
    dx, dy, dz = to_lamp
    flat = dx * dx + dz * dz
    whole = flat + dy * dy
    down = ox * dx + oz * dz
    if axis:  # closest points of the ray and the capsule's axis
        reach = np.float32(axis)
        s = (-down / np.maximum(flat, np.float32(1e-6))).clip(0, 1)
        height = (oy + s * dy).clip(-reach, reach)
        s = ((dy * (height - oy) - down) / whole).clip(0, 1)
        gap = oy + s * dy
        gap -= gap.clip(-reach, reach)
    else:
        s = (-(down + oy * dy) / whole).clip(0, 1)
        gap = oy + s * dy
    px, pz = ox + s * dx, oz + s * dz
    distance = np.sqrt(px * px + gap * gap + pz * pz)
    wide = s * np.float32(3 * _LAMP_RADIUS / size.sum()) + np.float32(0.02)
    return ((1 + wide - distance) / (2 * wide)).clip(0, 1)


def _box_cover(origin: list[np.ndarray], to_lamp: list[np.ndarray], size: np.ndarray, axis: float) -> np.ndarray:
    """Share of the lamp hidden by the cube [-1, 1]^3 of half sizes ``size``, from the segment's deepest point."""
    near, far = np.float32(0), np.float32(1)
    for o, d in zip(origin, to_lamp):
        inverse = 1 / np.where(np.abs(d) < 1e-6, np.float32(1e-6), d)
        middle, reach = -o * inverse, np.abs(inverse)
        near, far = np.maximum(near, middle - reach), np.minimum(far, middle + reach)
    s = ((near + far) * np.float32(0.5)).clip(0, 1)
    outside, inside = np.float32(0), np.float32(-9)
    for o, d, half in zip(origin, to_lamp, size.tolist()):
        gap = (np.abs(o + s * d) - 1) * np.float32(half)
        inside = np.maximum(inside, gap)
        gap = np.maximum(gap, 0)
        outside = outside + gap * gap
    distance = np.sqrt(outside) + np.minimum(inside, 0)
    wide = np.minimum(s * np.float32(_LAMP_RADIUS), np.float32(size.min() * 0.9)) + np.float32(0.004)
    return ((wide - distance) / (2 * wide)).clip(0, 1)


def _spheres(scene: Scene, frame: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Bounding spheres: centres (n, 3), radii (n,) of primitives, centres (b, 3), radii (b,) of bodies."""
    reach = scene.rotation[frame][:, :, 1] * (scene.size[:, 1] * scene.axis)[:, None]
    ends = np.stack((scene.centre[frame] - reach, scene.centre[frame] + reach))
    end_radius = np.where(scene.boxy, np.sqrt((scene.size**2).sum(axis=1)), scene.size.max(axis=1))
    starts = [body.start for body in scene.bodies]
    low = np.minimum.reduceat(ends.min(axis=0), starts)
    high = np.maximum.reduceat(ends.max(axis=0), starts)
    centre = (low + high) / 2
    owner = np.repeat(np.arange(len(starts)), [body.stop - body.start for body in scene.bodies])
    spread = np.sqrt(((ends - centre[owner]) ** 2).sum(axis=-1)).max(axis=0) + end_radius
    radius = np.where(scene.boxy, end_radius, scene.size.max(axis=1) + scene.size[:, 1] * scene.axis)
    return scene.centre[frame], radius, centre, np.maximum.reduceat(spread, starts)


def _cones(scene: Scene, centre: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cones from the lamp around spheres grown by its radius: axes (n, 3), cosines and nearest distances (n,)."""
    away = centre - scene.lamp
    distance = np.sqrt((away**2).sum(axis=1))
    sine = np.minimum((radius + _LAMP_RADIUS) / distance, 1.0)
    return (
        (away / distance[:, None]).astype(np.float32),
        np.sqrt(1 - sine * sine).astype(np.float32),
        (distance - radius).astype(np.float32),
    )


def _lamp_share(
    scene: Scene, frame: int, seen: Frame, beam: np.ndarray, length: np.ndarray, lit: np.ndarray
) -> np.ndarray:
    """Share of the lamp that each pixel sees, (N,); ``beam`` (3, N) are unit vectors from the lamp to the pixels."""
    share = np.ones(length.shape, np.float32)
    matrix, offset = local_from_world(scene, frame)
    lamp = (np.einsum('nij,j->ni', matrix, scene.lamp) + offset).astype(np.float32)
    to_local = np.concatenate((matrix, offset[:, :, None]), axis=2).astype(np.float32)
    centre, radius, body_centre, body_radius = _spheres(scene, frame)
    toward, cosine, _ = _cones(scene, centre, radius)
    owner = seen.index.ravel()
    for body, axis, narrow, nearest in zip(scene.bodies, *_cones(scene, body_centre, body_radius)):
        cone = _dot(beam, axis) > narrow
        cone &= lit
        cone &= length > nearest
        pixels = np.flatnonzero(cone)
        if not pixels.size:
            continue
        rays, points = beam.take(pixels, axis=1), seen.point.take(pixels, axis=1)
        own = owner.take(pixels) - SURFACES
        part = np.ones(pixels.shape, np.float32)
        for n in range(body.start, body.stop):
            inside = _dot(rays, toward[n]) > cosine[n]
            inside &= own != n  # a convex piece shades itself by its normals
            some = np.flatnonzero(inside)
            if some.size:
                start = _to_local(to_local[n], points.take(some, axis=1))
                to_lamp = [at - o for at, o in zip(lamp[n], start)]
                cover = _box_cover if scene.boxy[n] else _capsule_cover
                part[some] *= 1 - cover(start, to_lamp, scene.size[n], float(scene.axis[n]))
        share[pixels] *= part
    return share


def _corners(scene: Scene, probe: np.ndarray) -> np.ndarray:
    """Dimming (N,) of ambient light near walls, floor and ceiling, from points ``_REACH`` off the surfaces."""
    half = scene.room / 2
    open_ = np.float32(1)
    for k, middle in enumerate((0.0, half[1], 0.0)):
        gap = np.float32(half[k]) - np.abs(probe[k] - np.float32(middle))
        near = 1 - (gap * np.float32(1 / _REACH)).clip(0, 1)
        open_ = open_ * (1 - np.float32(0.38) * near * near)
    return open_


def _contacts(scene: Scene, frame: int, seen: Frame, probe: np.ndarray, open_: np.ndarray) -> None:
    """Dim ambient light near objects, in place: ``open_`` (N,), ``probe`` (3, N) points ``_REACH`` off the surfaces."""
    height, width = seen.size
    grid, dim = probe.reshape(3, height, width), open_.reshape(height, width)
    centres = scene.centre[frame].astype(np.float32)
    for n, (x0, x1, y0, y1) in enumerate(_windows(scene, frame, seen)):
        if x0 >= x1 or y0 >= y1:
            continue
        q = grid[:, y0:y1, x0:x1] - centres[n][:, None, None]
        turn, size = scene.rotation[frame][n].astype(np.float32), scene.size[n].astype(np.float32)
        if scene.boxy[n]:
            gaps = [np.abs(_dot(q, turn[:, k])) - size[k] for k in range(3)]
            deep = np.maximum(np.maximum(gaps[0], gaps[1]), gaps[2])
            gaps = [np.maximum(g, 0) for g in gaps]
            distance = np.sqrt(_dot(gaps, gaps)) + np.minimum(deep, 0)
        else:
            if scene.axis[n]:
                reach = size[1] * np.float32(scene.axis[n])
                q -= turn[:, 1, None, None] * _dot(q, turn[:, 1]).clip(-reach, reach)
            distance = np.sqrt(_dot(q, q)) - size.min()
        near = 1 - (distance * np.float32(1 / _REACH)).clip(0, 1)
        dim[y0:y1, x0:x1] *= 1 - np.float32(0.5) * near * near


def _windows(scene: Scene, frame: int, seen: Frame) -> list[list[int]]:
    """Pixel rectangles [x0, x1, y0, y1] around primitives, grown by the reach of contacts; empty for heads and arms."""
    view, eye = scene.camera_rotation[frame], scene.camera_centre[frame]
    places, radius, _, _ = _spheres(scene, frame)
    centre = np.einsum('nj,ji->ni', places - eye, view)
    radius = radius + _REACH
    near, far = np.maximum(centre[:, 2] - radius, 0.2), np.maximum(centre[:, 2] + radius, 0.2)
    bounds = np.empty((len(centre), 4))
    for k in range(2):
        low, high = centre[:, k] - radius, centre[:, k] + radius
        bounds[:, 2 * k], bounds[:, 2 * k + 1] = np.minimum(low / near, low / far), np.maximum(high / near, high / far)
    bounds[np.isin(scene.part, (HEAD, UPPER_ARM, LOWER_ARM))] = (1e6, -1e6, 1e6, -1e6)
    return pixel_rectangles(bounds, seen.focal, seen.size)


def shading(scene: Scene, frame: int, seen: Frame) -> np.ndarray:
    """Grey shading, float32 (N,) in (0, 1]: ambient light plus the lamp's, with Lambert's cosine.

    Args:
        scene: The scene.
        frame: 0 or 1.
        seen: What the camera sees in that frame.
    """
    beam = seen.point - scene.lamp.astype(np.float32)[:, None]
    square = _dot(beam, beam)
    length = np.sqrt(square)
    beam /= length
    cosine = -_dot(beam, seen.normal)
    lit = cosine > 0
    share = _lamp_share(scene, frame, seen, beam, length, lit)
    direct = np.maximum(cosine, 0) * share * np.minimum(np.float32(1.45) / (1 + square * np.float32(1 / _FADE)), 1)
    probe = seen.point + np.float32(_REACH) * seen.normal
    open_ = _corners(scene, probe)
    _contacts(scene, frame, seen, probe, open_)
    ambient = np.float32(scene.ambient)
    open_ *= 1 + np.float32(0.18) * np.abs(seen.normal[1])  # floor and ceiling throw light at each other
    total = ambient * open_ + (1 - ambient * np.float32(1.18)) * direct
    return np.clip(total, np.float32(0.01), np.float32(1))
