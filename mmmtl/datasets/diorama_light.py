"""Light of Diorama: one lamp with soft shadows, and ambient light dimmed in corners and near contacts.

Shading is a grey factor: albedo times shading is the linear image, exactly.
"""
from __future__ import annotations

import numpy as np

from .diorama_scene import FIGURE, SURFACES, Scene
from .diorama_trace import Frame, local_from_world

_LAMP_RADIUS = 0.16                                     # metres; the softness of shadows
_REACH = 0.3                                            # metres; how far contacts darken their surroundings
_FADE = 14.0                                            # square metres; the lamp's light halves at this squared distance


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def _to_local(matrix: np.ndarray, v: np.ndarray) -> list[np.ndarray]:
    """``matrix`` (3, 3) applied to ``v`` (3, n)."""
    m = matrix.tolist()
    return [v[0] * np.float32(r[0]) + v[1] * np.float32(r[1]) + v[2] * np.float32(r[2]) for r in m]


def _capsule_cover(origin: list[np.ndarray], to_lamp: list[np.ndarray], axis: float, soft: float) -> np.ndarray:
    """Share of the lamp hidden by a unit capsule, from its closest approach to the segment origin + s to_lamp.

    ``soft`` is the lamp's radius in the capsule's units; at parameter s the cone of light is ``s * soft`` wide.
    """
    ox, oy, oz = origin
    dx, dy, dz = to_lamp
    flat = dx * dx + dz * dz
    whole = flat + dy * dy
    down = ox * dx + oz * dz
    if axis:                                            # closest points of the ray and the capsule's axis
        s = np.clip(-down / np.maximum(flat, np.float32(1e-6)), 0, 1)
        height = np.clip(oy + s * dy, -np.float32(axis), np.float32(axis))
        s = np.clip((dy * (height - oy) - down) / whole, 0, 1)
        gap = oy + s * dy
        gap = gap - np.clip(gap, -np.float32(axis), np.float32(axis))
    else:
        s = np.clip(-(down + oy * dy) / whole, 0, 1)
        gap = oy + s * dy
    px, pz = ox + s * dx, oz + s * dz
    distance = np.sqrt(px * px + gap * gap + pz * pz)
    wide = s * np.float32(soft) + np.float32(0.02)
    return np.clip((1 + wide - distance) / (2 * wide), 0, 1)


def _box_cover(origin: list[np.ndarray], to_lamp: list[np.ndarray], size: np.ndarray) -> np.ndarray:
    """Share of the lamp hidden by a box of half sizes ``size``, all in metres, from its deepest point on the segment."""
    near, far = np.float32(0), np.float32(1)
    for o, d, half in zip(origin, to_lamp, size.tolist()):
        d = np.where(np.abs(d) < 1e-6, np.float32(1e-6), d)
        middle, reach = -o / d, np.float32(half) / np.abs(d)
        near, far = np.maximum(near, middle - reach), np.minimum(far, middle + reach)
    s = np.clip((near + far) * np.float32(0.5), 0, 1)
    outside, inside = np.float32(0), np.float32(-9)
    for o, d, half in zip(origin, to_lamp, size.tolist()):
        gap = np.abs(o + s * d) - np.float32(half)
        inside = np.maximum(inside, gap)
        gap = np.maximum(gap, 0)
        outside = outside + gap * gap
    distance = np.sqrt(outside) + np.minimum(inside, 0)
    wide = np.minimum(s * np.float32(_LAMP_RADIUS), np.float32(size.min() * 0.9)) + np.float32(0.004)
    return np.clip((wide - distance) / (2 * wide), 0, 1)


def _bounding_spheres(scene: Scene, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Centres (b, 3) and radii (b,) of the scene's bodies."""
    reach = scene.rotation[frame][:, :, 1] * (scene.size[:, 1] * scene.axis)[:, None]
    ends = np.stack((scene.centre[frame] - reach, scene.centre[frame] + reach))
    radius = np.where(scene.boxy, np.sqrt((scene.size ** 2).sum(axis=1)), scene.size.max(axis=1))
    centres, radii = [], []
    for body in scene.bodies:
        own = ends[:, body.start:body.stop]
        centre = (own.min(axis=(0, 1)) + own.max(axis=(0, 1))) / 2
        centres.append(centre)
        radii.append((np.sqrt(((own - centre) ** 2).sum(axis=-1)) + radius[body.start:body.stop]).max())
    return np.array(centres), np.array(radii)


def _lamp_share(scene: Scene, frame: int, seen: Frame, beam: np.ndarray, length: np.ndarray, lit: np.ndarray) -> np.ndarray:
    """Share of the lamp that each pixel sees, (N,); ``beam`` (3, N) are unit vectors from the lamp to the pixels."""
    share = np.ones(length.shape, np.float32)
    matrix, offset = local_from_world(scene, frame)
    owner = seen.index.ravel()
    for body, centre, radius in zip(scene.bodies, *_bounding_spheres(scene, frame)):
        away = centre - scene.lamp
        distance = float(np.sqrt((away ** 2).sum()))
        sine = min((radius + _LAMP_RADIUS) / distance, 1.0)
        toward = away / distance
        cone = _dot(beam, toward.astype(np.float32)) > np.float32(np.sqrt(1 - sine * sine))
        cone &= lit
        cone &= length > np.float32(distance - radius)
        pixels = np.flatnonzero(cone)
        if not pixels.size:
            continue
        point = seen.point.take(pixels, axis=1)
        to_lamp = scene.lamp.astype(np.float32)[:, None] - point
        own = owner.take(pixels) - SURFACES
        part = np.ones(pixels.shape, np.float32)
        for n in range(body.start, body.stop):
            if scene.boxy[n]:
                turn = scene.rotation[frame][n].T
                start = _to_local(turn, point - scene.centre[frame][n].astype(np.float32)[:, None])
                cover = _box_cover(start, _to_local(turn, to_lamp), scene.size[n])
            else:
                start = [o + np.float32(c) for o, c in zip(_to_local(matrix[n], point), offset[n])]
                soft = _LAMP_RADIUS / float(scene.size[n].mean())
                cover = _capsule_cover(start, _to_local(matrix[n], to_lamp), float(scene.axis[n]), soft)
            cover[own == n] = 0                         # a convex piece shades itself by its normals
            part *= 1 - cover
        share[pixels] *= part
    return share


def _corners(scene: Scene, probe: np.ndarray) -> np.ndarray:
    """Dimming (N,) of ambient light near walls, floor and ceiling, from points ``_REACH`` off the surfaces."""
    half = scene.room / 2
    open_ = np.float32(1)
    for k, middle in enumerate((0.0, half[1], 0.0)):
        gap = np.float32(half[k]) - np.abs(probe[k] - np.float32(middle))
        near = 1 - np.clip(gap * np.float32(1 / _REACH), 0, 1)
        open_ = open_ * (1 - np.float32(0.38) * near * near)
    return open_


def _contacts(scene: Scene, frame: int, seen: Frame, probe: np.ndarray, open_: np.ndarray) -> None:
    """Dim ambient light near objects, in place: ``open_`` (N,), ``probe`` (3, N) points ``_REACH`` off the surfaces."""
    height, width = seen.size
    grid, dim = probe.reshape(3, height, width), open_.reshape(height, width)
    for n, (x0, x1, y0, y1) in enumerate(_windows(scene, frame, seen)):
        if x0 >= x1 or y0 >= y1:
            continue
        window = grid[:, y0:y1, x0:x1] - scene.centre[frame][n].astype(np.float32)[:, None, None]
        q = _to_local(scene.rotation[frame][n].T, window)
        size = scene.size[n].astype(np.float32)
        if scene.boxy[n]:
            gaps = [np.abs(a) - s for a, s in zip(q, size)]
            deep = np.maximum(np.maximum(gaps[0], gaps[1]), gaps[2])
            gaps = [np.maximum(g, 0) for g in gaps]
            distance = np.sqrt(_dot(gaps, gaps)) + np.minimum(deep, 0)
        else:
            reach = size[1] * np.float32(scene.axis[n])
            q[1] = q[1] - np.clip(q[1], -reach, reach)
            distance = np.sqrt(_dot(q, q)) - size.min()
        near = 1 - np.clip(distance * np.float32(1 / _REACH), 0, 1)
        dim[y0:y1, x0:x1] *= 1 - np.float32(0.5) * near * near


def _windows(scene: Scene, frame: int, seen: Frame) -> list[list[int]]:
    """Pixel rectangles [x0, x1, y0, y1] around primitives, grown by the reach of contacts; empty for minor ones."""
    view, eye = scene.camera_rotation[frame], scene.camera_centre[frame]
    centre = np.einsum('nj,ji->ni', scene.centre[frame] - eye, view)
    radius = np.where(scene.boxy, np.sqrt((scene.size ** 2).sum(axis=1)), scene.size[:, 1] * (1 + scene.axis)) + _REACH
    near = np.maximum(centre[:, 2] - radius, 0.2)
    rectangles = np.empty((len(centre), 4), np.int64)
    for k in range(2):
        extent = seen.size[1 - k]
        middle = (extent - 1) / 2
        low = np.minimum((centre[:, k] - radius) / near, (centre[:, k] - radius) / (centre[:, 2] + radius).clip(0.2))
        high = np.maximum((centre[:, k] + radius) / near, (centre[:, k] + radius) / (centre[:, 2] + radius).clip(0.2))
        rectangles[:, 2 * k] = np.clip(np.ceil(low * seen.focal + middle), 0, extent)
        rectangles[:, 2 * k + 1] = np.clip(np.floor(high * seen.focal + middle) + 1, 0, extent)
    minor = np.zeros(len(centre), bool)
    for body in scene.bodies:
        if body.kind == FIGURE:
            minor[body.start:body.stop] = scene.size[body.start:body.stop].min(axis=1) < 0.05
    rectangles[minor] = 0
    return rectangles.tolist()


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
    direct = np.maximum(cosine, 0) * share * np.minimum(np.float32(1.35) / (1 + square * np.float32(1 / _FADE)), 1)
    probe = seen.point + np.float32(_REACH) * seen.normal
    open_ = _corners(scene, probe)
    _contacts(scene, frame, seen, probe, open_)
    ambient = np.float32(scene.ambient)
    open_ *= 1 + np.float32(0.12) * seen.normal[1]
    total = ambient * open_ + (1 - ambient * np.float32(1.12)) * direct
    return np.clip(total, np.float32(0.01), np.float32(1))
