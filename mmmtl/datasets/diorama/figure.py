"""Jointed figures of Diorama: a small skeleton posed in two frames and dressed with capsules and ellipsoids."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .palette import Material

# Body parts, in the order of the human-part classes (0 is the background).
HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG = range(1, 7)

POSES = ('stand', 'walk', 'wave', 'cheer', 'reach', 'hips', 'sit')

# Lengths as fractions of the stature.
THIGH, SHIN, ANKLE = 0.225, 0.215, 0.045
UPPER_ARM_LENGTH, LOWER_ARM_LENGTH = 0.155, 0.14
HIP_WIDTH, SHOULDER_WIDTH = 0.058, 0.118
SHOULDER_HEIGHT, HEAD_HEIGHT = 0.285, 0.41  # above the hips


def rot_x(angle: float) -> np.ndarray:
    """Rotation about x by ``angle`` radians, float64 (3, 3)."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array(((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c)))


def rot_y(angle: float) -> np.ndarray:
    """Rotation about y by ``angle`` radians, float64 (3, 3)."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array(((c, 0.0, s), (0.0, 1.0, 0.0), (-s, 0.0, c)))


def rot_z(angle: float) -> np.ndarray:
    """Rotation about z by ``angle`` radians, float64 (3, 3)."""
    c, s = math.cos(angle), math.sin(angle)
    return np.array(((c, -s, 0.0), (s, c, 0.0), (0.0, 0.0, 1.0)))


def _arms(draw: Any, pose: str) -> list[list[float]]:
    """Shoulder flexion, shoulder abduction and elbow flexion of the right and left arm."""
    u = draw.uniform
    relaxed = [[u(-0.15, 0.3), u(0.1, 0.35), u(0.1, 0.6)] for _ in range(2)]
    if pose == 'wave':
        relaxed[draw.below(2)] = [u(-0.2, 0.2), u(2.0, 2.5), u(0.3, 0.9)]
    elif pose == 'cheer':
        relaxed = [[u(-0.2, 0.3), u(2.2, 2.8), u(0.1, 0.7)] for _ in range(2)]
    elif pose == 'reach':
        relaxed = [[u(0.0, 0.5), u(1.2, 1.7), u(0.0, 0.4)] for _ in range(2)]
    elif pose == 'hips':
        relaxed = [[u(-0.4, -0.2), u(0.75, 0.95), u(1.5, 1.9)] for _ in range(2)]
    elif pose == 'sit':
        relaxed = [[u(0.3, 0.9), u(0.1, 0.3), u(0.6, 1.3)] for _ in range(2)]
    return relaxed


def _legs(draw: Any, pose: str) -> list[list[float]]:
    """Hip flexion, hip spread and knee flexion of the right and left leg."""
    u = draw.uniform
    if pose == 'sit':
        return [[u(1.35, 1.55), u(0.05, 0.25), u(1.35, 1.6)] for _ in range(2)]
    if pose == 'walk':
        stride = u(0.35, 0.6)
        legs = [[stride, 0.03, u(0.05, 0.3)], [-0.8 * stride, 0.03, u(0.2, 0.7)]]
        return legs if draw.chance(0.5) else legs[::-1]
    return [[u(-0.05, 0.15), u(0.04, 0.2), u(0.0, 0.15)] for _ in range(2)]


def _angles(draw: Any, pose: str) -> np.ndarray:
    """Joint angles of both frames, (2, 17): lean, twist, sway, head turn, head nod, 2 x arm, 2 x leg."""
    u = draw.uniform
    trunk = [u(-0.05, 0.12), u(-0.2, 0.2), u(-0.06, 0.06), u(-0.5, 0.5), u(-0.15, 0.2)]
    arms, legs = _arms(draw, pose), _legs(draw, pose)
    if pose == 'walk':  # arms swing against the legs
        for arm, leg in zip(arms, legs):
            arm[0] = -0.9 * leg[0]
    first = trunk + arms[0] + arms[1] + legs[0] + legs[1]
    loose = [0.04] * 3 + [0.15, 0.08] + [0.22, 0.15, 0.18] * 2 + [0.06, 0.02, 0.06] * 2
    if pose == 'walk':
        loose[-6:] = [0.16, 0.02, 0.12] * 2
    elif pose == 'sit':
        loose[-6:] = [0.02] * 6
    second = [a + u(-m, m) for a, m in zip(first, loose)]
    for elbow in (7, 10):  # elbows and knees do not bend backwards
        second[elbow] = max(second[elbow], 0.0)
    for knee in (13, 16):
        second[knee] = max(second[knee], 0.0)
    return np.array((first, second))


def skeleton(angles: np.ndarray, yaw: float) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Forward kinematics of one frame.

    The figure looks along its +z axis, y is up, the unit is the stature and the origin is on the floor below the hips.

    Args:
        angles: (17,) joint angles in radians, see :func:`_angles`.
        yaw: Heading about the vertical axis.

    Returns:
        Name of the bone -> (rotation (3, 3), joint position (3,)); limbs run along their local -y.
    """
    lean, twist, sway, turn, nod = angles[:5]
    root = rot_y(yaw)
    chest = root @ rot_y(twist) @ rot_x(lean) @ rot_z(sway)
    hips = np.zeros(3)
    bones = {
        'pelvis': (root, hips),
        'chest': (chest, hips),
        'head': (chest @ rot_y(turn) @ rot_x(nod), hips + chest @ np.array((0.0, HEAD_HEIGHT, 0.01))),
    }
    lowest = 0.0
    for k, (name, side) in enumerate((('right', -1.0), ('left', 1.0))):
        flex, spread, elbow = angles[5 + 3 * k : 8 + 3 * k]
        shoulder = chest @ np.array((side * SHOULDER_WIDTH, SHOULDER_HEIGHT, 0.0))
        upper = chest @ rot_x(-flex) @ rot_z(side * spread)
        lower = upper @ (rot_x(-elbow) if spread < 0.6 else rot_z(side * elbow))
        if spread >= 0.6 and spread < 1.1:  # hands on the hips: the forearm turns inwards
            lower = upper @ rot_z(-side * elbow)
        bones[f'{name}_upper_arm'] = (upper, shoulder)
        bones[f'{name}_lower_arm'] = (lower, shoulder - UPPER_ARM_LENGTH * upper[:, 1])
        bones[f'{name}_hand'] = (lower, bones[f'{name}_lower_arm'][1] - (LOWER_ARM_LENGTH + 0.015) * lower[:, 1])
        flex, spread, knee = angles[11 + 3 * k : 14 + 3 * k]
        thigh = root @ rot_x(-flex) @ rot_z(side * spread)
        shin = thigh @ rot_x(knee)
        bones[f'{name}_upper_leg'] = (thigh, root @ np.array((side * HIP_WIDTH, 0.0, 0.0)))
        bones[f'{name}_lower_leg'] = (shin, bones[f'{name}_upper_leg'][1] - THIGH * thigh[:, 1])
        ankle = bones[f'{name}_lower_leg'][1] - SHIN * shin[:, 1]
        bones[f'{name}_foot'] = (root @ rot_y(0.2 * side), ankle)
        lowest = min(lowest, float(ankle[1]))
    rise = np.array((0.0, ANKLE - lowest, 0.0))
    return {name: (rotation, joint + rise) for name, (rotation, joint) in bones.items()}


# Flesh: bone, semi-axes (x, y, z), offset of the centre along the bone's axes, length of the capsule's axis, part,
# material. Lengths are fractions of the stature; limbs come in pairs ('*').
_FLESH: tuple[tuple[str, tuple[float, float, float], tuple[float, float, float], float, int, str], ...] = (
    ('pelvis', (0.096, 0.07, 0.072), (0.0, 0.02, 0.0), 0.0, TORSO, 'hips'),
    ('chest', (0.108, 0.07, 0.068), (0.0, 0.178, 0.0), 0.19, TORSO, 'chest'),
    ('chest', (0.034, 0.034, 0.034), (0.0, 0.325, 0.0), 0.05, HEAD, 'skin'),
    ('head', (0.078, 0.094, 0.084), (0.0, 0.03, 0.0), 0.0, HEAD, 'face'),
    ('head', (0.086, 0.088, 0.086), (0.0, 0.056, -0.02), 0.0, HEAD, 'hair'),
    ('*_upper_arm', (0.037, 0.037, 0.037), (0.0, -UPPER_ARM_LENGTH / 2, 0.0), UPPER_ARM_LENGTH, UPPER_ARM, 'sleeve'),
    ('*_lower_arm', (0.031, 0.031, 0.031), (0.0, -LOWER_ARM_LENGTH / 2, 0.0), LOWER_ARM_LENGTH, LOWER_ARM, 'forearm'),
    ('*_hand', (0.036, 0.042, 0.03), (0.0, -0.012, 0.0), 0.0, LOWER_ARM, 'skin'),
    ('*_upper_leg', (0.056, 0.056, 0.056), (0.0, -THIGH / 2, 0.0), THIGH, UPPER_LEG, 'thigh'),
    ('*_lower_leg', (0.043, 0.043, 0.043), (0.0, -SHIN / 2, 0.0), SHIN, LOWER_LEG, 'shin'),
    ('*_foot', (0.042, 0.036, 0.075), (0.0, -0.009, 0.03), 0.0, LOWER_LEG, 'shoe'),
)


class Piece(NamedTuple):
    """One convex piece of an object: a box, or a capsule along its local y axis (an ellipsoid if that is short).

    Attributes:
        boxy: Whether it is a box.
        size: (3,) half sizes or semi-axes in metres.
        axis: Half length of the capsule's axis in units of the y semi-axis; 0 for an ellipsoid or a box.
        rotation: (2, 3, 3) world from local, for both frames.
        centre: (2, 3) metres, for both frames.
        part: Human-part class, 0 to 6.
        material: Its looks.
    """

    boxy: bool
    size: np.ndarray
    axis: float
    rotation: np.ndarray
    centre: np.ndarray
    part: int
    material: Material


def figure(
    draw: Any, pose: str, stature: float, place: np.ndarray, yaw: tuple[float, float], clothes: dict[str, Material]
) -> tuple[list[Piece], float]:
    """A dressed figure in two frames.

    Args:
        draw: Source of random numbers.
        pose: One of :data:`POSES`.
        stature: Height in metres when it stands upright.
        place: (2, 3) the point on the floor below its hips, for both frames.
        yaw: Heading in both frames.
        clothes: Materials, see :func:`mmmtl.datasets.diorama.palette.wardrobe`.

    Returns:
        Its pieces, and the height of its seat (underside of the hips) in metres in the first frame.
    """
    angles = _angles(draw, pose)
    frames = [skeleton(angles[k], yaw[k]) for k in range(2)]
    if pose == 'sit':  # the seat holds the hips where they were
        drop = frames[0]['pelvis'][1][1] - frames[1]['pelvis'][1][1]
        frames[1] = {n: (r, j + np.array((0.0, drop, 0.0))) for n, (r, j) in frames[1].items()}
    pieces = []
    for bone, size, offset, length, part, cloth in _FLESH:
        for name in [bone.replace('*', 'right'), bone.replace('*', 'left')] if bone[0] == '*' else [bone]:
            rotation = np.stack([frame[name][0] for frame in frames])
            joint = np.stack([frame[name][1] for frame in frames])
            centre = place + stature * (joint + np.einsum('fij,j->fi', rotation, offset))
            shape = stature * np.array(size), length / 2 / size[1]
            pieces.append(Piece(False, *shape, rotation, centre, part, clothes[cloth]))
    return pieces, stature * (float(frames[0]['pelvis'][1][1]) - 0.05)
