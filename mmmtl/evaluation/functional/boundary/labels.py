"""Boundary maps of segmentations."""

from __future__ import annotations

import numpy as np

LABEL_KINDS = ('contours', 'regions')
"""What a label picture can be: boundary pixels, or a segmentation whose boundary is meant."""


def segmentation_boundary(segments: np.ndarray) -> np.ndarray:
    """Pixels that differ from their right, lower or lower right neighbour, as the boundary benchmarks take them.

    Args:
        segments: (H, W) ids of any kind; the last row and column look along the border only.

    Returns:
        Boolean (H, W), not thinned.
    """
    segments = np.asarray(segments)
    boundary = np.zeros(segments.shape, bool)
    boundary[:, :-1] |= segments[:, :-1] != segments[:, 1:]
    boundary[:-1] |= segments[:-1] != segments[1:]
    boundary[:-1, :-1] |= segments[:-1, :-1] != segments[1:, 1:]
    return boundary
