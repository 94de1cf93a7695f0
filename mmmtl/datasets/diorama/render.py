"""Renderer of Diorama: images and exact labels of ten tasks from (seed, index, size). Pure functions on numpy arrays.

A scene (``scene.py``) is cast (``trace.py``), painted (``texture.py``) and lit (``light.py``); here the parts become the
image and the labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError

from .furnish import CLASSES as CLASSES
from .furnish import PARTS as PARTS
from .light import shading as _shading
from .scene import SURFACE_CLASS, SURFACES, Scene, describe
from .texture import albedo as _albedo
from .trace import Frame, trace

RENDERER_VERSION = 1
"""Goes up with every change that shows in a picture or a label: stored scenes of another version are not used."""

MIN_SIZE = 8
_CODES = 1 << 14


@lru_cache(maxsize=1)
def _tone_table() -> np.ndarray:
    """sRGB codes (uint8) of linear values i / (2^14 - 1)."""
    value = np.arange(_CODES) / (_CODES - 1)
    code = np.where(value <= 0.0031308, 12.92 * value, 1.055 * value ** (1 / 2.4) - 0.055)
    return np.rint(255 * code).astype(np.uint8)


def tone_map(linear: np.ndarray) -> np.ndarray:
    """sRGB encoding (IEC 61966-2-1) of linear values in [0, 1] as uint8, same shape."""
    return _tone_table().take((linear * np.float32(_CODES - 1) + np.float32(0.5)).astype(np.int32), mode='clip')


def _per_primitive(scene: Scene) -> dict[str, np.ndarray]:
    """Tables over surfaces and primitives: class, part, salient, rank (the larger owns a common boundary)."""
    count = SURFACES + len(scene.axis)
    table = {name: np.zeros(count, np.int64) for name in ('kind', 'part', 'salient', 'rank')}
    table['kind'][:SURFACES] = SURFACE_CLASS
    table['part'][SURFACES:] = scene.part
    table['rank'][:SURFACES] = [(1, 0, 2, 3).index(k) for k in SURFACE_CLASS]  # floor < wall < ceiling < rug
    eye = scene.camera_centre[0]
    away = [((scene.centre[0, b.start] - eye) ** 2).sum() for b in scene.bodies]
    for rank, number in enumerate(np.argsort(away, kind='stable')[::-1].tolist()):
        body = scene.bodies[number]
        own = slice(SURFACES + body.start, SURFACES + body.stop)
        table['kind'][own], table['salient'][own], table['rank'][own] = body.kind, number == scene.hero, 4 + rank
    return table


def _boundary(rank: np.ndarray) -> np.ndarray:
    """One pixel thin: pixels with a 4-neighbour of another instance of lower rank. int64 (H, W) in {0, 1}."""
    edge = np.zeros(rank.shape, bool)
    edge[:, 1:] |= rank[:, 1:] > rank[:, :-1]
    edge[:, :-1] |= rank[:, :-1] > rank[:, 1:]
    edge[1:] |= rank[1:] > rank[:-1]
    edge[:-1] |= rank[:-1] > rank[1:]
    return edge.astype(np.int64)


def _motion_table(scene: Scene) -> np.ndarray:
    """(12, surfaces + primitives) float32: maps world points of frame 1 to camera axes of frame 2."""
    count = SURFACES + len(scene.axis)
    turn = np.tile(np.eye(3), (count, 1, 1))
    shift = np.zeros((count, 3))
    turn[SURFACES:] = np.einsum('nij,nkj->nik', scene.rotation[1], scene.rotation[0])
    shift[SURFACES:] = scene.centre[1] - np.einsum('nij,nj->ni', turn[SURFACES:], scene.centre[0])
    view = scene.camera_rotation[1]
    matrix = np.einsum('ji,njk->nik', view, turn)
    offset = np.einsum('ji,nj->ni', view, shift - scene.camera_centre[1])
    return np.concatenate((matrix.reshape(count, 9), offset), axis=1).T.astype(np.float32)


def _moved(motion: np.ndarray, seen: Frame) -> np.ndarray:
    """Where the points seen in frame 1 are in camera axes of frame 2, (3, H, W); ``motion`` (12, N) per pixel."""
    x, y, z = seen.point
    m = motion
    rows = [m[3 * i] * x + m[3 * i + 1] * y + m[3 * i + 2] * z + m[9 + i] for i in range(3)]
    return np.stack(rows).reshape(3, *seen.size)


def _flows(seen: Frame, after: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Optical flow (2, H, W) pixels and scene flow (3, H, W) metres in camera axes; NaN behind the second camera."""
    px, py = (r.astype(np.float32) for r in seen.rays)
    ahead = np.where(after[2] > 1e-3, after[2], np.float32(np.nan))
    flow3d = np.stack((after[0] - px * seen.depth, after[1] - py[:, None] * seen.depth, after[2] - seen.depth))
    focal = np.float32(seen.focal)
    flow2d = np.stack(((after[0] / ahead - px) * focal, (after[1] / ahead - py[:, None]) * focal))
    return flow2d, flow3d


def _visible(seen: Frame, later: Frame, flow: np.ndarray, motion: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Whether each pixel's point is seen again, bool (H, W).

    It is where its surface still faces the camera and the nearest pixel of frame 2 shows the same convex primitive.
    """
    height, width = seen.size
    target = np.nan_to_num(flow, nan=-1e6)
    x = np.rint(target[0] + np.arange(width, dtype=np.float32))
    y = np.rint(target[1] + np.arange(height, dtype=np.float32)[:, None])
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    at = np.clip(y, 0, height - 1).astype(np.int64) * width + np.clip(x, 0, width - 1).astype(np.int64)
    m, n, p = motion, seen.normal, after.reshape(3, -1)
    away = sum(p[i] * (m[3 * i] * n[0] + m[3 * i + 1] * n[1] + m[3 * i + 2] * n[2]) for i in range(3))
    return inside & (later.index.ravel().take(at) == seen.index) & (away < 0).reshape(seen.size)


def _look(scene: Scene, frame: int, size: tuple[int, int]) -> tuple[Frame, np.ndarray, np.ndarray, np.ndarray]:
    """What is seen, its albedo (3, H, W), shading (1, H, W) and linear image (3, H, W)."""
    seen = trace(scene, frame, size)
    back = scene.camera_centre[frame].astype(np.float32)[:, None] - seen.point
    distance = np.sqrt(back[0] ** 2 + back[1] ** 2 + back[2] ** 2)
    cosine = (back[0] * seen.normal[0] + back[1] * seen.normal[1] + back[2] * seen.normal[2]) / distance
    colour = _albedo(scene, seen, cosine).reshape(3, *size)
    grey = _shading(scene, frame, seen).reshape(1, *size)
    return seen, colour, grey, colour * grey


def _image(linear: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(tone_map(linear).transpose(1, 2, 0))


def check_arguments(seed: int, index: int, size: Sequence[int], frames: int) -> tuple[int, int]:
    """The size as (height, width); ValueError where :func:`render` would raise it."""
    for name, value in (('seed', seed), ('index', index)):
        if not isinstance(value, (int, np.integer)) or value < 0:
            raise ConfigError(f'{name} of a Diorama scene must be an integer of at least 0, got {value!r}')
    try:
        height, width = (int(s) for s in size)
    except (TypeError, ValueError):
        raise ConfigError(f'size of a Diorama scene must be (height, width), got {size!r}') from None
    if min(height, width) < MIN_SIZE:
        raise ConfigError(f'size of a Diorama scene must be at least {MIN_SIZE} x {MIN_SIZE} pixels, got {size!r}')
    if frames not in (1, 2):
        raise ConfigError(f'frames of a Diorama scene must be 1 or 2, got {frames!r}')
    return height, width


def render(seed: int, index: int, size: Sequence[int] = (128, 128), frames: int = 1) -> dict[str, Any]:
    """Render one scene with its labels; the same bits in every process.

    Args:
        seed: Number of the world, at least 0.
        index: Number of the scene in it, at least 0.
        size: (H, W), at least 8 pixels each. The scene does not depend on it; the field of view is that of a
            square of the same area.
        frames: 1, or 2 to render the second frame as well.

    Returns:
        ``img`` uint8 (H, W, 3) RGB and the labels:

        * ``semseg`` (:data:`CLASSES`), ``human_parts`` (:data:`PARTS`), ``saliency`` and ``boundary`` int64 (H, W);
        * ``normals`` float32 (3, H, W) x right, y up, z towards the viewer; ``depth`` (1, H, W) metres;
        * ``optical_flow`` (2, H, W) pixels and ``scene_flow`` (3, H, W) metres, from frame 1 to frame 2 (which need
          not be rendered). A point is taken in each frame's own camera axes: the camera's motion is part of both;
        * ``albedo`` (3, H, W) and ``shading`` (1, H, W), linear in [0, 1].

        Besides them ``linear`` (3, H, W) = albedo x shading, the image before :func:`tone_map`; ``instance`` int64
        (H, W), 0 to 3 the room, then the objects, the nearest the last; ``intrinsics`` float64 (3, 3), pixel centres at
        whole numbers. With two frames also ``img_next``, ``linear_next``, ``albedo_next``, ``depth_next`` and
        ``visible`` bool (H, W), whether the point of a pixel is seen again.

    Raises:
        ConfigError: For a negative seed or index, a size below 8 pixels, or another number of frames.
    """
    height, width = shape = check_arguments(seed, index, size, frames)
    scene = describe(seed, index)
    seen, colour, grey, linear = _look(scene, 0, shape)
    table = {name: values.take(seen.index) for name, values in _per_primitive(scene).items()}
    view = scene.camera_rotation[0] * (1, -1, -1)  # right, up, backwards
    normals = np.stack([sum(np.float32(view[k, i]) * seen.normal[k] for k in range(3)) for i in range(3)])
    motion = _motion_table(scene).take(seen.index.ravel(), axis=1)
    after = _moved(motion, seen)
    flow2d, flow3d = _flows(seen, after)
    out = {
        'img': _image(linear),
        'semseg': table['kind'],
        'human_parts': table['part'],
        'saliency': table['salient'],
        'normals': normals.reshape(3, *shape),
        'boundary': _boundary(table['rank']),
        'depth': seen.depth[None],
        'optical_flow': flow2d,
        'scene_flow': flow3d,
        'albedo': colour,
        'shading': grey,
        'linear': linear,
        'instance': table['rank'],
        'intrinsics': np.array(((seen.focal, 0, (width - 1) / 2), (0, seen.focal, (height - 1) / 2), (0, 0, 1))),
    }
    if frames == 2:
        later, next_colour, _, next_linear = _look(scene, 1, shape)
        out.update(
            img_next=_image(next_linear),
            linear_next=next_linear,
            albedo_next=next_colour,
            depth_next=later.depth[None],
            visible=_visible(seen, later, flow2d, motion, after),
        )
    return out
