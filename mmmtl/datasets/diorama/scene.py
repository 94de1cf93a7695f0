"""Scenes of Diorama: from (seed, index) to a furnished room, its inhabitants, a lamp and a moving camera.

World axes: x right, y up, z backwards (right-handed, metres); the floor is y = 0 and the room is centred on the y axis.
Camera axes: x right, y down, z forwards. A scene knows nothing of image sizes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .furnish import CEILING, FLOOR, RUG, WALL, Body, Draw, Stage, furnish
from .palette import (
    CEILINGS,
    PAINT,
    RUG_WEAVE,
    THEMES,
    Material,
    floor_material,
    mix,
    rug_material,
    tint,
    wall_material,
)

# Surfaces of the room come first among the primitives: +x, -x, ceiling, floor, +z, -z, rug.
SURFACES = 7
SURFACE_CLASS = (WALL, WALL, CEILING, FLOOR, WALL, WALL, RUG)
RUG_SURFACE = 6


@dataclass
class Scene:
    """Everything there is to see; arrays over primitives are float64, over frames first.

    Attributes:
        room: (3,) width, height and depth in metres.
        surfaces: Materials of the seven surfaces of the room.
        rug: (5,) centre x, z, half sizes along its axes, heading; None without a rug.
        rug_round: Whether the rug is an ellipse.
        lamp: (3,) position of the light.
        ambient: Share of light that comes from everywhere, in [0, 1].
        camera_rotation: (2, 3, 3) world from camera.
        camera_centre: (2, 3) metres.
        focal: Focal length in units of the geometric mean of image height and width.
        bodies: The objects.
        hero: Index of the salient one in ``bodies``.
        boxy: (n,) whether a primitive is a box (otherwise a capsule or ellipsoid).
        size: (n, 3) half sizes or semi-axes in metres.
        axis: (n,) half length of a capsule's axis in units of its y semi-axis.
        rotation: (2, n, 3, 3) world from local.
        centre: (2, n, 3) metres.
        part: (n,) human-part class.
        materials: n materials.
    """

    room: np.ndarray
    surfaces: list[Material]
    rug: tuple[float, float, float, float, float] | None
    rug_round: bool
    lamp: np.ndarray
    ambient: float
    camera_rotation: np.ndarray
    camera_centre: np.ndarray
    focal: float
    bodies: list[Body]
    hero: int
    boxy: np.ndarray
    size: np.ndarray
    axis: np.ndarray
    rotation: np.ndarray
    centre: np.ndarray
    part: np.ndarray
    materials: list[Material]


def _camera(draw: Draw, eye: np.ndarray, heading: float, pitch: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotations (2, 3, 3) world from camera, and centres (2, 3), of a hand-held camera."""
    roll = draw.uniform(-0.03, 0.03)
    rotations, centres = [], []
    for frame in range(2):
        if frame:
            heading += draw.uniform(-0.025, 0.025)
            pitch += draw.uniform(-0.015, 0.015)
            roll += draw.uniform(-0.01, 0.01)
            ahead = draw.uniform(-0.03, 0.12)
            eye = eye + np.array(
                (
                    draw.uniform(-0.09, 0.09) + ahead * math.sin(heading),
                    draw.uniform(-0.03, 0.03),
                    -ahead * math.cos(heading),
                )
            )
        level = np.array((math.sin(heading), 0.0, -math.cos(heading)))
        right, up = np.array((math.cos(heading), 0.0, math.sin(heading))), np.array((0.0, 1.0, 0.0))
        forward = math.cos(pitch) * level - math.sin(pitch) * up
        down = -math.cos(pitch) * up - math.sin(pitch) * level
        c, s = math.cos(roll), math.sin(roll)
        rotations.append(np.stack((c * right + s * down, c * down - s * right, forward), axis=1))
        centres.append(eye)
    return np.stack(rotations), np.stack(centres)


def _rug(draw: Draw, stage: Stage) -> tuple[tuple[float, float, float, float, float] | None, bool]:
    if not draw.chance(0.72):
        return None, False
    x, z = stage.taken[0][:2]
    half = (draw.uniform(0.8, 1.3), draw.uniform(0.6, 0.95))
    return (x + draw.uniform(-0.4, 0.4), z + draw.uniform(-0.3, 0.3), *half, draw.uniform(-0.5, 0.5)), draw.chance(0.35)


def describe(seed: int, index: int) -> Scene:
    """The scene number ``index`` of ``seed``: the same bit for bit in every process.

    Args:
        seed: Not negative.
        index: Not negative.
    """
    draw = Draw(seed, index)
    theme = draw.pick(THEMES)
    room = np.array((draw.uniform(3.8, 5.6), draw.uniform(2.3, 2.8), draw.uniform(4.2, 5.8)))
    walls = wall_material(draw, theme)
    ceiling = tint(draw, draw.pick(CEILINGS), 0.03)
    eye = np.array((draw.uniform(-0.3, 0.3) * room[0], draw.uniform(1.15, 1.75), room[2] / 2 - draw.uniform(0.3, 0.5)))
    heading = -eye[0] / room[0] * draw.uniform(0.6, 1.5) + draw.uniform(-0.3, 0.3)
    neutral = mix(walls.colours[0], (0.4, 0.4, 0.4), 0.4)
    stage = Stage(draw, theme, room, (float(eye[0]), float(eye[2])), heading, neutral)
    floor = floor_material(draw, theme)
    furnish(stage)
    rug, rug_round = _rug(draw, stage)
    target = stage.pieces[0].centre[0] - eye  # the hero is held a little below the middle of the picture
    pitch = 0.5 * math.atan2(-target[1], math.hypot(target[0], target[2])) + draw.uniform(-0.07, 0.05)
    rotation, centre = _camera(draw, eye, heading, min(max(pitch, 0.04), 0.34))
    lamp = np.array(
        (draw.uniform(-0.3, 0.3) * room[0], room[1] - draw.uniform(0.35, 0.7), draw.uniform(-0.25, 0.42) * room[2])
    )
    plain = Material(PAINT, (ceiling, ceiling, ceiling))
    carpet = rug_material(draw, theme) if rug else Material(RUG_WEAVE, (ceiling, ceiling, ceiling))
    surfaces = [walls, walls, plain, floor, walls, walls, carpet]
    boxy, size, axis, turns, places, parts, materials = zip(*stage.pieces)
    return Scene(
        room=room,
        surfaces=surfaces,
        rug=rug,
        rug_round=rug_round,
        lamp=lamp,
        ambient=draw.uniform(0.34, 0.46),
        camera_rotation=rotation,
        camera_centre=centre,
        focal=draw.uniform(0.8, 0.95),
        bodies=stage.bodies,
        hero=0,
        boxy=np.array(boxy),
        size=np.stack(size),
        axis=np.array(axis),
        rotation=np.stack(turns, axis=1),
        centre=np.stack(places, axis=1),
        part=np.array(parts),
        materials=list(materials),
    )
