"""Scenes of Diorama: from (seed, index) to a furnished room, its inhabitants, a lamp and a moving camera.

World axes: x right, y up, z backwards (right-handed, metres); the floor is y = 0 and the room is centred on the y axis.
Camera axes: x right, y down, z forwards. A scene knows nothing of image sizes.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from .diorama_figure import POSES, figure, rot_y
from .diorama_palette import (CEILINGS, PAINT, RUG, THEMES, Colour, Material, Theme, ball_material, box_material, floor_material,
                              mix, rug_material, tint, wall_material, wardrobe, wood_material)

CLASSES = ('wall', 'floor', 'ceiling', 'rug', 'table', 'box', 'ball', 'figure')
PARTS = ('background', 'head', 'torso', 'upper arm', 'lower arm', 'upper leg', 'lower leg')
WALL, FLOOR, CEILING, CARPET_CLASS, TABLE, BOX, BALL, FIGURE = range(8)

# Surfaces of the room come first among the primitives: +x, -x, ceiling, floor, +z, -z, rug.
SURFACES = 7
SURFACE_CLASS = (WALL, WALL, CEILING, FLOOR, WALL, WALL, CARPET_CLASS)
RUG_SURFACE = 6

T = TypeVar('T')


class Draw:
    """Random numbers of one scene: uniforms of PCG64 seeded by (seed, index), nothing else, so streams stay stable."""

    def __init__(self, seed: int, index: int) -> None:
        self._rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
        self._buffer: list[float] = []

    def unit(self) -> float:
        """Uniform in [0, 1)."""
        if not self._buffer:
            self._buffer = self._rng.random(256).tolist()[::-1]
        return self._buffer.pop()

    def uniform(self, low: float, high: float) -> float:
        """Uniform in [low, high)."""
        return low + (high - low) * self.unit()

    def below(self, n: int) -> int:
        """Uniform integer in [0, n)."""
        return int(self.unit() * n)

    def chance(self, p: float) -> bool:
        """True with probability ``p``."""
        return self.unit() < p

    def pick(self, items: Sequence[T]) -> T:
        """One of ``items``."""
        return items[self.below(len(items))]

    def two(self, items: Sequence[T]) -> tuple[T, T]:
        """Two different ones of ``items``, in order."""
        i = self.below(len(items))
        j = (i + 1 + self.below(len(items) - 1)) % len(items)
        return items[i], items[j]


@dataclass
class Body:
    """One object: consecutive convex primitives that form an instance.

    Attributes:
        kind: Its class, an index into :data:`CLASSES`.
        start: Index of its first primitive in the scene's arrays.
        stop: One past its last.
    """

    kind: int
    start: int
    stop: int


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


@dataclass
class _Stage:
    """A scene being furnished."""

    draw: Draw
    theme: Theme
    room: np.ndarray
    eye: tuple[float, float]
    heading: float
    neutral: Colour
    taken: list[tuple[float, float, float, bool]] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    pieces: list[tuple[bool, np.ndarray, float, np.ndarray, np.ndarray, int, Material]] = field(default_factory=list)

    def accents(self, hero: bool) -> tuple[Colour, Colour]:
        """Two accents; those of a hero are pure, others are toned down towards the room's colour."""
        first, second = self.draw.two(self.theme.accents)
        if hero:
            return first, second
        share = self.draw.uniform(0.15, 0.4)
        return mix(tint(self.draw, first), self.neutral, share), mix(tint(self.draw, second), self.neutral, share)

    def body(self, kind: int, pieces: list[tuple[bool, np.ndarray, float, np.ndarray, np.ndarray, int, Material]]) -> None:
        """Add one object."""
        self.bodies.append(Body(kind, len(self.pieces), len(self.pieces) + len(pieces)))
        self.pieces.extend(pieces)

    def spot(self, radius: float, near: float, far: float, spread: float, hero: bool = False) -> tuple[float, float] | None:
        """A free place on the floor, in sight and not in front of the hero: (x, z), or None after 16 tries."""
        half_x, half_z = self.room[0] / 2 - radius - 0.05, self.room[2] / 2 - radius - 0.05
        for _ in range(16):
            bearing = self.heading + self.draw.uniform(-spread, spread)
            distance = self.draw.uniform(near, far)
            x = self.eye[0] + distance * math.sin(bearing)
            z = self.eye[1] - distance * math.cos(bearing)
            if abs(x) > half_x or abs(z) > half_z:
                continue
            if all(self._apart(x, z, radius, bearing, distance, other) for other in self.taken):
                self.taken.append((x, z, radius, hero))
                return x, z
        return None

    def _apart(self, x: float, z: float, radius: float, bearing: float, distance: float,
               other: tuple[float, float, float, bool]) -> bool:
        ox, oz, wide, hero = other
        if math.hypot(x - ox, z - oz) < radius + wide + 0.05:
            return False
        away = math.hypot(ox - self.eye[0], oz - self.eye[1])
        angle = abs(math.atan2(ox - self.eye[0], self.eye[1] - oz) - bearing)
        hidden = radius / distance + wide / away
        return angle > (0.85 if hero and distance < away else 0.45) * hidden

    def moved(self, x: float, z: float, radius: float, step: float) -> np.ndarray:
        """(2, 3) a place on the floor in both frames, moved by up to ``step`` metres and kept inside the room."""
        angle, step = self.draw.uniform(-math.pi, math.pi), self.draw.uniform(0.25, 1.0) * step
        half_x, half_z = self.room[0] / 2 - radius, self.room[2] / 2 - radius
        x2 = min(half_x, max(-half_x, x + step * math.sin(angle)))
        z2 = min(half_z, max(-half_z, z + step * math.cos(angle)))
        return np.array(((x, 0.0, z), (x2, 0.0, z2)))


def _pair(rotation: np.ndarray) -> np.ndarray:
    return np.stack((rotation, rotation))


def _add_figure(stage: _Stage, hero: bool) -> bool:
    """A figure, on a stool if it sits."""
    draw = stage.draw
    stature = draw.uniform(1.1, 1.4) if draw.chance(0.2) else draw.uniform(1.5, 1.85)
    spot = stage.spot(0.26 * stature, *((2.2, 3.2, 0.16) if hero else (2.0, 4.6, 0.5)), hero=hero)
    if spot is None:
        return False
    pose = draw.pick(POSES + ('walk', 'stand'))
    to_eye = math.atan2(stage.eye[0] - spot[0], stage.eye[1] - spot[1])
    yaw = to_eye + (draw.uniform(-0.9, 0.9) if draw.chance(0.7) else draw.uniform(-math.pi, math.pi))
    turn = draw.uniform(-0.12, 0.12)
    place = stage.moved(*spot, 0.26 * stature, 0.08)
    if pose == 'walk':
        place[1] = place[0] + draw.uniform(0.08, 0.25) * np.array((math.sin(yaw), 0.0, math.cos(yaw)))
    elif pose == 'sit':
        place[1], turn = place[0], 0.0
    accent, other = stage.accents(hero)
    pieces, seat = figure(draw, pose, stature, place, (yaw, yaw + turn), wardrobe(draw, accent, other))
    stage.body(FIGURE, [(False, p.size, p.axis, p.rotation, p.centre, p.part, p.material) for p in pieces])
    if pose == 'sit':
        half = np.array((0.13 * stature, seat / 2, 0.12 * stature))
        centre = place + np.array((0.0, seat / 2, 0.0))
        stage.body(BOX, [(True, half, 0.0, _pair(rot_y(yaw)), centre, 0, box_material(draw, *stage.accents(False)))])
    return True


def _ball(stage: _Stage, hero: bool, radius: float, ground: np.ndarray, roll: bool) -> None:
    """A ball above the points ``ground`` (2, 3); a rolling one turns by the way it goes."""
    draw = stage.draw
    lean = rot_y(draw.uniform(-math.pi, math.pi))
    tilt = draw.uniform(-0.6, 0.6)
    first = lean @ np.array(((1, 0, 0), (0, math.cos(tilt), -math.sin(tilt)), (0, math.sin(tilt), math.cos(tilt))))
    second = first
    way = ground[1] - ground[0]
    length = math.hypot(way[0], way[2])
    if roll and length > 1e-6:
        heading, angle = math.atan2(way[0], way[2]), min(length / radius, 0.5)
        spin = np.array(((1, 0, 0), (0, math.cos(angle), -math.sin(angle)), (0, math.sin(angle), math.cos(angle))))
        second = rot_y(heading) @ spin @ rot_y(-heading) @ first
    centre = ground + np.array((0.0, radius, 0.0))
    material = ball_material(draw, *stage.accents(hero))
    stage.body(BALL, [(False, np.full(3, radius), 0.0, np.stack((first, second)), centre, 0, material)])


def _add_ball(stage: _Stage, hero: bool) -> bool:
    draw = stage.draw
    radius = draw.uniform(0.26, 0.42) if hero else draw.uniform(0.14, 0.34)
    spot = stage.spot(radius, *((1.7, 2.6, 0.16) if hero else (1.6, 4.5, 0.55)), hero=hero)
    if spot is None:
        return False
    ground = stage.moved(*spot, radius, 0.22)
    if draw.chance(0.3):                                # in the air
        ground[:, 1] += draw.uniform(0.2, 0.9)
        ground[1, 1] += draw.uniform(-0.15, 0.15)
    _ball(stage, hero, radius, ground, roll=True)
    return True


def _add_box(stage: _Stage, hero: bool) -> bool:
    """A box, often with a smaller one or a ball on it."""
    draw = stage.draw
    half = np.array([draw.uniform(0.17, 0.4) for _ in range(3)]) * (1.2 if hero else 1.0)
    radius = math.hypot(half[0], half[2])
    spot = stage.spot(radius, *((1.9, 2.8, 0.16) if hero else (2.0, 4.8, 0.55)), hero=hero)
    if spot is None:
        return False
    ground = stage.moved(*spot, radius, 0.18 if draw.chance(0.6) else 0.0)
    yaw = draw.uniform(-math.pi, math.pi)
    turn = draw.uniform(-0.2, 0.2) if ground[0, 0] != ground[1, 0] else 0.0
    rotation = np.stack((rot_y(yaw), rot_y(yaw + turn)))
    centre = ground + np.array((0.0, half[1], 0.0))
    stage.body(BOX, [(True, half, 0.0, rotation, centre, 0, box_material(draw, *stage.accents(hero)))])
    _put_on_top(stage, ground + np.array((0.0, 2 * half[1], 0.0)), min(half[0], half[2]), rotation, 0.4)
    return True


def _put_on_top(stage: _Stage, top: np.ndarray, reach: float, rotation: np.ndarray, chance: float) -> None:
    """Perhaps a ball or a small box on a horizontal face whose middle is ``top`` (2, 3)."""
    draw = stage.draw
    if not draw.chance(chance):
        return
    if draw.chance(0.55):
        _ball(stage, False, min(0.2, reach * draw.uniform(0.55, 0.85)), top, roll=False)
        return
    half = np.array([min(0.24, reach * draw.uniform(0.5, 0.75)) for _ in range(3)])
    twist = rot_y(draw.uniform(-0.6, 0.6))
    centre = top + np.array((0.0, half[1], 0.0))
    stage.body(BOX, [(True, half, 0.0, rotation @ twist, centre, 0, box_material(draw, *stage.accents(False)))])


def _add_table(stage: _Stage) -> bool:
    draw = stage.draw
    half_x, half_z, height = draw.uniform(0.5, 0.75), draw.uniform(0.34, 0.48), draw.uniform(0.5, 0.75)
    radius = math.hypot(half_x, half_z) * 0.9
    spot = stage.spot(radius, 2.4, 4.8, 0.5)
    if spot is None:
        return False
    ground = np.array(((spot[0], 0.0, spot[1]),) * 2)
    rotation = _pair(rot_y(draw.uniform(-math.pi, math.pi) if draw.chance(0.4) else draw.uniform(-0.3, 0.3)))
    material, thick, leg = wood_material(draw), draw.uniform(0.025, 0.04), draw.uniform(0.03, 0.045)

    def board(half: tuple[float, float, float], at: tuple[float, float, float]) -> tuple:
        return True, np.array(half), 0.0, rotation, ground + np.einsum('fij,j->fi', rotation, at), 0, material
    pieces = [board((half_x, thick, half_z), (0.0, height - thick, 0.0))]
    for side in (-1, 1):
        for end in (-1, 1):
            at = (side * (half_x - leg - 0.03), height / 2 - thick, end * (half_z - leg - 0.03))
            pieces.append(board((leg, height / 2 - thick, leg), at))
    stage.body(TABLE, pieces)
    aside = rotation[0] @ np.array((draw.uniform(-0.4, 0.4) * half_x, height, 0.0))
    _put_on_top(stage, ground + aside, half_z * 0.7, rotation, 0.65)
    return True


def _furnish(stage: _Stage) -> int:
    """Fill the room; returns the index of the hero among the bodies."""
    draw = stage.draw
    kinds = (_add_figure,) * 13 + (_add_ball,) * 4 + (_add_box,) * 3
    add = draw.pick(kinds)
    hero = 0
    if not add(stage, True):                            # a narrow room: a ball fits everywhere
        _ball(stage, True, 0.3, stage.moved(0.0, 0.0, 0.3, 0.2), roll=True)
        stage.taken.append((0.0, 0.0, 0.3, True))
    if draw.chance(0.62):
        _add_table(stage)
    wanted = draw.pick((0, 1, 1, 2)) if add is _add_figure else draw.pick((0, 1, 1, 1, 2))
    for _ in range(wanted):
        _add_figure(stage, False)
    for _ in range(draw.pick((0, 1, 1, 2))):
        _add_box(stage, False)
    for _ in range(draw.pick((0, 1, 1, 2))):
        _add_ball(stage, False)
    return hero


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
            eye = eye + np.array((draw.uniform(-0.09, 0.09) + ahead * math.sin(heading), draw.uniform(-0.03, 0.03),
                                  -ahead * math.cos(heading)))
        level = np.array((math.sin(heading), 0.0, -math.cos(heading)))
        right, up = np.array((math.cos(heading), 0.0, math.sin(heading))), np.array((0.0, 1.0, 0.0))
        forward = math.cos(pitch) * level - math.sin(pitch) * up
        down = -math.cos(pitch) * up - math.sin(pitch) * level
        c, s = math.cos(roll), math.sin(roll)
        rotations.append(np.stack((c * right + s * down, c * down - s * right, forward), axis=1))
        centres.append(eye)
    return np.stack(rotations), np.stack(centres)


def _rug(draw: Draw, stage: _Stage) -> tuple[tuple[float, float, float, float, float] | None, bool]:
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
    room = np.array((draw.uniform(4.2, 6.2), draw.uniform(2.4, 3.0), draw.uniform(4.6, 6.6)))
    walls = wall_material(draw, theme)
    ceiling = tint(draw, draw.pick(CEILINGS), 0.03)
    eye = np.array((draw.uniform(-0.3, 0.3) * room[0], draw.uniform(1.15, 1.75), room[2] / 2 - draw.uniform(0.3, 0.5)))
    heading = -eye[0] / room[0] * draw.uniform(0.6, 1.5) + draw.uniform(-0.3, 0.3)
    pitch = draw.uniform(0.06, 0.2) + 0.12 * (eye[1] - 1.4)
    stage = _Stage(draw, theme, room, (float(eye[0]), float(eye[2])), heading, mix(walls.colours[0], (0.4, 0.4, 0.4), 0.4))
    floor = floor_material(draw, theme)
    hero = _furnish(stage)
    rug, rug_round = _rug(draw, stage)
    rotation, centre = _camera(draw, eye, heading, pitch)
    lamp = np.array((draw.uniform(-0.3, 0.3) * room[0], room[1] - draw.uniform(0.25, 0.5),
                     draw.uniform(-0.25, 0.42) * room[2]))
    plain = Material(PAINT, (ceiling, ceiling, ceiling))
    carpet = rug_material(draw, theme) if rug else Material(RUG, (ceiling, ceiling, ceiling))
    boxy, size, axis, turns, places, parts, materials = zip(*stage.pieces)
    return Scene(room, [walls, walls, plain, floor, walls, walls, carpet], rug, rug_round, lamp, draw.uniform(0.34, 0.46),
                 rotation, centre, draw.uniform(0.8, 0.95), stage.bodies, hero, np.array(boxy), np.stack(size),
                 np.array(axis), np.stack(turns, axis=1), np.stack(places, axis=1), np.array(parts), list(materials))
