"""The eight street classes of StableMTL, and how VKITTI2 and Cityscapes write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mmmtl.datasets.io.values import colour_codes, map_values
from mmmtl.tasks import IGNORE

STREET_CLASSES = ('road', 'building', 'pole', 'traffic light', 'traffic sign', 'vegetation', 'sky', 'vehicle')
STREET_PALETTE = (
    (128, 64, 128),
    (70, 70, 70),
    (153, 153, 153),
    (250, 170, 30),
    (220, 220, 0),
    (107, 142, 35),
    (70, 130, 180),
    (0, 0, 142),
)

VKITTI_COLOURS = (
    (210, 0, 200),
    (90, 200, 255),
    (0, 199, 0),
    (90, 240, 0),
    (140, 140, 140),
    (100, 60, 100),
    (250, 100, 255),
    (255, 255, 0),
    (200, 200, 0),
    (255, 130, 0),
    (80, 80, 80),
    (160, 60, 60),
    (255, 127, 80),
    (0, 139, 139),
)
"""Colour of each VKITTI2 class: Terrain, Sky, Tree, Vegetation, Building, Road, GuardRail, TrafficSign, TrafficLight,
Pole, Misc, Truck, Car, Van."""
VKITTI_IDS = {5: 0, 4: 1, 9: 2, 8: 3, 7: 4, 2: 5, 3: 5, 1: 6, 11: 7, 12: 7, 13: 7}
"""VKITTI2 class → street class; the others are unknown."""
CITYSCAPES_IDS = {7: 0, 11: 1, 17: 2, 19: 3, 20: 4, 21: 5, 23: 6, 26: 7, 28: 7}
"""Cityscapes label id → street class (without trucks, 27, as in the published evaluation)."""


def colours_to_classes(
    picture: np.ndarray, colours: Sequence[tuple[int, int, int]] = VKITTI_COLOURS, table: Mapping[int, int] = VKITTI_IDS
) -> np.ndarray:
    """Colours, uint8 (H, W, 3), → int64 classes (H, W), 255 where the colour or its class has none."""
    codes = colour_codes(np.array(colours, np.uint8)).tolist()
    return map_values(colour_codes(picture), {code: table.get(i, IGNORE) for i, code in enumerate(codes)})[0]
