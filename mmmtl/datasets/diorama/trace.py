"""Ray casting of Diorama scenes: analytic intersections inside the bounding rectangle of every primitive.

Rays have unit length along the optical axis, so the ray parameter is the depth. Everything after the intersection
(points, normals, local coordinates) is computed once per pixel, whatever the number of primitives.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .furnish import FLOOR
from .scene import RUG_SURFACE, SURFACE_CLASS, SURFACES, Scene

FLOOR_SURFACE = SURFACE_CLASS.index(FLOOR)
_FACE_NORMALS = np.array(((-1, 0, 0), (1, 0, 0), (0, -1, 0), (0, 1, 0), (0, 0, -1), (0, 0, 1), (0, 1, 0)), np.float32)
_NEAR = 0.05


@dataclass
class Frame:
    """What the camera of one frame sees; N = H * W pixels in row order, M of them on objects. World axes.

    Attributes:
        size: (H, W).
        focal: Focal length in pixels.
        rays: Horizontal (W,) and vertical (H,) camera coordinates of the rays at depth 1, float64.
        depth: (H, W) float32 metres along the optical axis.
        index: (H, W) int16 primitive seen: surfaces of the room below ``SURFACES``, then the scene's primitives.
        point: (3, N) float32 metres.
        normal: (3, N) float32 unit vectors out of the surface.
        solid: (M,) pixels on objects.
        local: (3, M) float32 point in the primitive's own axes, in units of its half sizes or semi-axes.
    """

    size: tuple[int, int]
    focal: float
    rays: tuple[np.ndarray, np.ndarray]
    depth: np.ndarray
    index: np.ndarray
    point: np.ndarray
    normal: np.ndarray
    solid: np.ndarray
    local: np.ndarray


def local_from_world(scene: Scene, frame: int) -> tuple[np.ndarray, np.ndarray]:
    """Affine maps into the unit shapes of the primitives: matrices (n, 3, 3) and offsets (n, 3), float64."""
    matrix = scene.rotation[frame].transpose(0, 2, 1) / scene.size[:, :, None]
    return matrix, -np.einsum('nij,nj->ni', matrix, scene.centre[frame])


def camera_rays(scene: Scene, size: tuple[int, int]) -> tuple[float, np.ndarray, np.ndarray]:
    """Focal length in pixels and the coordinates (W,), (H,) of the rays through the pixel centres at depth 1."""
    height, width = size
    focal = scene.focal * float(np.sqrt(height * width))
    return focal, (np.arange(width) - (width - 1) / 2) / focal, (np.arange(height) - (height - 1) / 2) / focal


def _interval(along: np.ndarray, ahead: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds of a sphere's projection at depth 1, given its centre in the plane of one image axis and the view."""
    root = np.sqrt(np.maximum(along**2 + ahead**2 - radius**2, 0.0))
    scale = np.maximum(ahead**2 - radius**2, 1e-9)
    return (along * ahead - radius * root) / scale, (along * ahead + radius * root) / scale


def _bounds(scene: Scene, frame: int) -> np.ndarray:
    """Rectangles (n, 4) x0, x1, y0, y1 at depth 1 that contain the primitives; infinite for what is at the camera."""
    view, eye = scene.camera_rotation[frame], scene.camera_centre[frame]
    centre = np.einsum('nj,ji->ni', scene.centre[frame] - eye, view)
    axes = np.einsum('ji,njk->nik', view, scene.rotation[frame]) * scene.size[:, None, :]
    reach = axes[:, :, 1] * scene.axis[:, None]
    radius = scene.size.max(axis=1)
    bounds = np.empty((len(centre), 4))
    ends = np.stack((centre - reach, centre + reach))
    for k in range(2):
        low, high = _interval(ends[..., k], ends[..., 2], radius)
        bounds[:, 2 * k], bounds[:, 2 * k + 1] = low.min(axis=0), high.max(axis=0)
    behind = (ends[..., 2] < radius + _NEAR).any(axis=0)
    boxes = np.flatnonzero(scene.boxy)
    signs = np.array([(a, b, c) for a in (-1, 1) for b in (-1, 1) for c in (-1, 1)], float)
    corners = centre[boxes, None] + np.einsum('nij,cj->nci', axes[boxes], signs)
    shown = corners[..., :2] / np.maximum(corners[..., 2:], _NEAR)
    bounds[boxes, 0::2], bounds[boxes, 1::2] = shown.min(axis=1), shown.max(axis=1)
    behind[boxes] = corners[..., 2].min(axis=1) < _NEAR
    bounds[behind] = (-np.inf, np.inf, -np.inf, np.inf)
    return bounds


def _capsule(origin: np.ndarray, rays: list[np.ndarray], axis: float) -> tuple[np.ndarray, np.ndarray]:
    """Depth along ``origin + t rays`` of the unit capsule about y with half axis ``axis``, and where it is hit."""
    ox, oy, oz = origin
    dx, dy, dz = rays
    flat = dx * dx + dz * dz
    if axis:
        b = ox * dx + oz * dz
        square = b * b - flat * (ox * ox + oz * oz - 1)
        t = (-b - np.sqrt(np.maximum(square, 0.0))) / np.maximum(flat, 1e-12)
        height = oy + t * dy
        below = height < 0
        inside = (np.abs(height) <= axis) & (square >= 0)
        cap = np.where(below, oy + axis, oy - axis)  # the cap's centre as seen from the origin
    else:
        cap = oy
    whole = flat + dy * dy
    b = ox * dx + cap * dy + oz * dz
    square = b * b - whole * (ox * ox + cap * cap + oz * oz - 1)
    round_t = (-b - np.sqrt(np.maximum(square, 0.0))) / whole
    if not axis:
        return round_t, square >= 0
    return np.where(inside, t, round_t), inside | (square >= 0)


def _cube(origin: np.ndarray, rays: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Depth along ``origin + t rays`` of the cube [-1, 1]^3, and where it is hit."""
    inverses = [1.0 / np.where(np.abs(d) < 1e-12, 1e-12, d) for d in rays]
    middle = [-o * inverse for o, inverse in zip(origin, inverses)]
    half = [np.abs(inverse) for inverse in inverses]
    near = np.maximum(np.maximum(middle[0] - half[0], middle[1] - half[1]), middle[2] - half[2])
    far = np.minimum(np.minimum(middle[0] + half[0], middle[1] + half[1]), middle[2] + half[2])
    return near, near <= far


def _room(scene: Scene, frame: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """Depth (H, W) float32 and surface (H, W) int16 of the empty room, and the rays' world directions."""
    view, eye = scene.camera_rotation[frame], scene.camera_centre[frame]
    half = scene.room / 2
    origin = eye - np.array((0.0, half[1], 0.0))
    rays = [
        (view[k, 0] * x).astype(np.float32) + (view[k, 1] * y + view[k, 2]).astype(np.float32)[:, None]
        for k in range(3)
    ]
    depth = np.full((len(y), len(x)), np.inf, np.float32)
    index = np.zeros(depth.shape, np.int16)
    for k, d in enumerate(rays):
        d[d == 0] = 1e-12
        t = (np.copysign(np.float32(half[k]), d) - np.float32(origin[k])) / d
        surface = (d < 0).astype(np.int16)
        surface += 2 * k
        index = np.where(t < depth, surface, index)
        depth = np.minimum(depth, t)
    return depth, index, rays


def _lay_rug(scene: Scene, index: np.ndarray, point: np.ndarray) -> None:
    """Turn floor into rug, in place: ``index`` (N,) and ``point`` (3, N)."""
    if scene.rug is None:
        return
    floor = np.flatnonzero(index == FLOOR_SURFACE)
    u, v = rug_coordinates(scene, point[0].take(floor), point[2].take(floor))
    inside = u * u + v * v < 1 if scene.rug_round else np.maximum(np.abs(u), np.abs(v)) < 1
    index[floor[inside]] = RUG_SURFACE


def rug_coordinates(scene: Scene, x: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates on the rug in units of its half sizes."""
    if scene.rug is None:
        raise ValueError('this scene has no rug')
    cx, cz, half_u, half_v, turn = scene.rug
    c, s = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    x, z = x - np.float32(cx), z - np.float32(cz)
    return (c * x - s * z) / np.float32(half_u), (s * x + c * z) / np.float32(half_v)


def pixel_rectangles(bounds: np.ndarray, focal: float, size: tuple[int, int]) -> list[list[int]]:
    """Half-open pixel ranges [x0, x1, y0, y1] in an image of (H, W) = ``size`` of rectangles (n, 4) at depth 1."""
    ranges = np.empty(bounds.shape, np.int64)
    for k, extent in enumerate((size[1], size[0])):
        edges = np.clip(bounds[:, 2 * k : 2 * k + 2], -1e6, 1e6) * focal + (extent - 1) / 2
        ranges[:, 2 * k] = np.clip(np.ceil(edges[:, 0]), 0, extent)
        ranges[:, 2 * k + 1] = np.clip(np.floor(edges[:, 1]) + 1, 0, extent)
    return [[int(v) for v in row] for row in ranges]


def trace(scene: Scene, frame: int, size: tuple[int, int]) -> Frame:
    """Cast one ray through every pixel centre.

    Args:
        scene: The scene.
        frame: 0 or 1.
        size: (H, W).
    """
    focal, x, y = camera_rays(scene, size)
    depth, index, rays = _room(scene, frame, x, y)
    matrix, offset = local_from_world(scene, frame)
    view, eye = scene.camera_rotation[frame], scene.camera_centre[frame]
    across = np.einsum('nij,jk->nik', matrix, view)
    origin = np.einsum('nij,j->ni', matrix, eye) + offset
    for n, (x0, x1, y0, y1) in enumerate(pixel_rectangles(_bounds(scene, frame), focal, size)):
        if x0 >= x1 or y0 >= y1:
            continue
        a, px, py = across[n], x[x0:x1], y[y0:y1, None]
        d = [a[k, 0] * px + (a[k, 1] * py + a[k, 2]) for k in range(3)]
        t, hit = _cube(origin[n], d) if scene.boxy[n] else _capsule(origin[n], d, float(scene.axis[n]))
        window = depth[y0:y1, x0:x1]
        hit &= t < window
        hit &= t > _NEAR
        np.copyto(window, t, where=hit, casting='same_kind')
        index[y0:y1, x0:x1][hit] = n + SURFACES
    point = np.stack([(d * depth + np.float32(e)).ravel() for d, e in zip(rays, eye)])
    _lay_rug(scene, index.ravel(), point)
    return _finish(scene, (matrix, offset), Frame(size, focal, (x, y), depth, index, point, *[np.empty(0)] * 3))


def _finish(scene: Scene, maps: tuple[np.ndarray, np.ndarray], seen: Frame) -> Frame:
    """Normals of everything, local coordinates of objects."""
    index = seen.index.ravel()
    seen.solid = np.flatnonzero(index >= SURFACES)
    which = index.take(seen.solid) - SURFACES
    table = np.concatenate(maps, axis=None).astype(np.float32)
    count = len(scene.axis)
    matrix = [[table[: 9 * count].reshape(-1, 9)[:, 3 * i + j].take(which) for j in range(3)] for i in range(3)]
    x, y, z = (row.take(seen.solid) for row in seen.point)
    offset = table[9 * count :].reshape(-1, 3)
    seen.local = np.stack(
        [matrix[i][0] * x + matrix[i][1] * y + matrix[i][2] * z + offset[:, i].take(which) for i in range(3)]
    )
    out = seen.local.copy()
    reach = scene.axis.astype(np.float32).take(which)
    out[1] -= np.clip(out[1], -reach, reach)
    boxes = np.flatnonzero(scene.boxy.take(which))
    sides = seen.local[:, boxes]
    top = np.abs(sides).argmax(axis=0)
    out[:, boxes] = 0
    out[top, boxes] = np.sign(sides[top, np.arange(len(boxes))])
    normal = np.stack([matrix[0][i] * out[0] + matrix[1][i] * out[1] + matrix[2][i] * out[2] for i in range(3)])
    normal /= np.sqrt(normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2)
    seen.normal = np.stack([_FACE_NORMALS[:, i].take(index, mode='clip') for i in range(3)])
    seen.normal[:, seen.solid] = normal
    return seen
