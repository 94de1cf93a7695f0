"""Furniture and inhabitants of Diorama: what stands where in a room, and how it moves between two frames."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from .figure import POSES, Piece, figure, rot_x, rot_y
from .palette import Colour, Theme, ball_material, box_material, mix, tint, wardrobe, wood_material

CLASSES = ('wall', 'floor', 'ceiling', 'rug', 'table', 'box', 'ball', 'figure')
PARTS = ('background', 'head', 'torso', 'upper arm', 'lower arm', 'upper leg', 'lower leg')
WALL, FLOOR, CEILING, RUG, TABLE, BOX, BALL, FIGURE = range(8)

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
class Stage:
    """A scene being furnished.

    Attributes:
        draw: Source of random numbers.
        theme: Colours to choose from.
        room: (3,) width, height and depth in metres.
        eye: The camera's x and z.
        heading: Where it looks, radians from -z towards +x.
        neutral: Colour towards which all but the hero are toned down.
        taken: Places on the floor: x, z, radius, whether the hero stands there.
        bodies: The objects so far.
        pieces: Their convex pieces.
    """

    draw: Draw
    theme: Theme
    room: np.ndarray
    eye: tuple[float, float]
    heading: float
    neutral: Colour
    taken: list[tuple[float, float, float, bool]] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    pieces: list[Piece] = field(default_factory=list)

    def accents(self, hero: bool) -> tuple[Colour, Colour]:
        """Two accents; those of a hero are pure, others are toned down towards the room's colour."""
        first, second = self.draw.two(self.theme.accents)
        if hero:
            return first, second
        share = self.draw.uniform(0.15, 0.4)
        return mix(tint(self.draw, first), self.neutral, share), mix(tint(self.draw, second), self.neutral, share)

    def body(self, kind: int, pieces: list[Piece]) -> None:
        """Add one object."""
        self.bodies.append(Body(kind, len(self.pieces), len(self.pieces) + len(pieces)))
        self.pieces.extend(pieces)

    def spot(
        self, radius: float, near: float, far: float, spread: float, hero: bool = False
    ) -> tuple[float, float] | None:
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

    def distance_of_hero(self) -> float:
        """Metres from the camera to the place of the hero, along the floor."""
        x, z = self.taken[0][:2]
        return math.hypot(x - self.eye[0], z - self.eye[1])

    def _apart(
        self,
        x: float,
        z: float,
        radius: float,
        bearing: float,
        distance: float,
        other: tuple[float, float, float, bool],
    ) -> bool:
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


def _add_figure(stage: Stage, hero: bool) -> bool:
    """A figure, on a stool if it sits."""
    draw = stage.draw
    stature = draw.uniform(1.1, 1.4) if draw.chance(0.2) else draw.uniform(1.5, 1.85)
    # others stand behind the hero, or what stands out would be in the eye of the beholder
    reach = (1.85, 2.6, 0.18) if hero else (max(1.9, 0.95 * stage.distance_of_hero()), 4.4, 0.5)
    spot = stage.spot(0.26 * stature, *reach, hero=hero)
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
    stage.body(FIGURE, pieces)
    if pose == 'sit':
        half = np.array((0.13 * stature, seat / 2, 0.12 * stature))
        centre = place + np.array((0.0, seat / 2, 0.0))
        material = box_material(draw, *stage.accents(False))
        stage.body(BOX, [Piece(True, half, 0.0, _pair(rot_y(yaw)), centre, 0, material)])
    return True


def _ball(stage: Stage, hero: bool, radius: float, ground: np.ndarray, roll: bool) -> None:
    """A ball above the points ``ground`` (2, 3); a rolling one turns by the way it goes."""
    draw = stage.draw
    lean = rot_y(draw.uniform(-math.pi, math.pi))
    first = second = lean @ rot_x(draw.uniform(-0.6, 0.6))
    way = ground[1] - ground[0]
    length = math.hypot(way[0], way[2])
    if roll and length > 1e-6:
        heading, angle = math.atan2(way[0], way[2]), min(length / radius, 0.5)
        second = rot_y(heading) @ rot_x(angle) @ rot_y(-heading) @ first
    centre = ground + np.array((0.0, radius, 0.0))
    material = ball_material(draw, *stage.accents(hero))
    stage.body(BALL, [Piece(False, np.full(3, radius), 0.0, np.stack((first, second)), centre, 0, material)])


def _add_ball(stage: Stage, hero: bool) -> bool:
    draw = stage.draw
    radius = draw.uniform(0.3, 0.45) if hero else draw.uniform(0.17, 0.36)
    spot = stage.spot(radius, *((1.5, 2.2, 0.18) if hero else (1.5, 4.0, 0.55)), hero=hero)
    if spot is None:
        return False
    ground = stage.moved(*spot, radius, 0.22)
    if draw.chance(0.3):  # in the air
        ground[:, 1] += draw.uniform(0.2, 0.9)
        ground[1, 1] += draw.uniform(-0.15, 0.15)
    _ball(stage, hero, radius, ground, roll=True)
    return True


def _add_box(stage: Stage, hero: bool) -> bool:
    """A box, often with a smaller one or a ball on it."""
    draw = stage.draw
    half = np.array([draw.uniform(0.17, 0.4) for _ in range(3)]) * (1.2 if hero else 1.0)
    radius = math.hypot(half[0], half[2])
    spot = stage.spot(radius, *((1.7, 2.5, 0.18) if hero else (1.7, 4.2, 0.55)), hero=hero)
    if spot is None:
        return False
    ground = stage.moved(*spot, radius, 0.18 if draw.chance(0.6) else 0.0)
    yaw = draw.uniform(-math.pi, math.pi)
    turn = draw.uniform(-0.2, 0.2) if ground[0, 0] != ground[1, 0] else 0.0
    rotation = np.stack((rot_y(yaw), rot_y(yaw + turn)))
    centre = ground + np.array((0.0, half[1], 0.0))
    stage.body(BOX, [Piece(True, half, 0.0, rotation, centre, 0, box_material(draw, *stage.accents(hero), hero))])
    _put_on_top(stage, ground + np.array((0.0, 2 * half[1], 0.0)), min(half[0], half[2]), rotation, 0.4)
    return True


def _put_on_top(stage: Stage, top: np.ndarray, reach: float, rotation: np.ndarray, chance: float) -> None:
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
    material = box_material(draw, *stage.accents(False))
    stage.body(BOX, [Piece(True, half, 0.0, rotation @ twist, centre, 0, material)])


def _add_table(stage: Stage) -> bool:
    draw = stage.draw
    half_x, half_z, height = draw.uniform(0.5, 0.75), draw.uniform(0.34, 0.48), draw.uniform(0.5, 0.75)
    radius = math.hypot(half_x, half_z) * 0.9
    spot = stage.spot(radius, 2.0, 4.2, 0.5)
    if spot is None:
        return False
    ground = np.array(((spot[0], 0.0, spot[1]),) * 2)
    rotation = _pair(rot_y(draw.uniform(-math.pi, math.pi) if draw.chance(0.4) else draw.uniform(-0.3, 0.3)))
    material, thick, leg = wood_material(draw), draw.uniform(0.025, 0.04), draw.uniform(0.03, 0.045)

    def board(half: tuple[float, float, float], at: tuple[float, float, float]) -> Piece:
        centre = ground + np.einsum('fij,j->fi', rotation, at)
        return Piece(True, np.array(half), 0.0, rotation, centre, 0, material)

    pieces = [board((half_x, thick, half_z), (0.0, height - thick, 0.0))]
    for side in (-1, 1):
        for end in (-1, 1):
            at = (side * (half_x - leg - 0.03), height / 2 - thick, end * (half_z - leg - 0.03))
            pieces.append(board((leg, height / 2 - thick, leg), at))
    stage.body(TABLE, pieces)
    aside = rotation[0] @ np.array((draw.uniform(-0.4, 0.4) * half_x, height, 0.0))
    _put_on_top(stage, ground + aside, half_z * 0.7, rotation, 0.65)
    return True


def furnish(stage: Stage) -> None:
    """Fill the room; the first body is the hero."""
    draw = stage.draw
    kinds = (_add_figure,) * 14 + (_add_ball,) * 3 + (_add_box,) * 3
    add = draw.pick(kinds)
    if not add(stage, True):  # a narrow room: a ball fits everywhere
        _ball(stage, True, 0.3, stage.moved(0.0, 0.0, 0.3, 0.2), roll=True)
        stage.taken.append((0.0, 0.0, 0.3, True))
    if draw.chance(0.75):
        _add_table(stage)
    wanted = draw.pick((0, 1, 1, 2)) if add is _add_figure else draw.pick((0, 1, 1, 2, 2))
    for _ in range(wanted):
        _add_figure(stage, False)
    for _ in range(draw.pick((0, 1, 1, 2))):
        _add_box(stage, False)
    for _ in range(draw.pick((0, 1, 1, 2))):
        _add_ball(stage, False)
