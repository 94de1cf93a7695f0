"""Label maps in MATLAB files: variables, the annotators of BSDS, the semantic contours of SBD."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmmtl.errors import FileError
from mmmtl.tasks import IGNORE

from .guard import check_size, max_pixels, reading
from .matlab_structure import check_structure
from .storage import open_file, read_bytes


def read_mat(path: str | Path, key: str) -> Any:
    """One variable of a MATLAB file (versions 4 to 7.2); structures come as nested ``mat_struct`` or arrays of them."""
    from scipy.io import loadmat

    if key not in variables(path):
        raise FileError(f"{path}: expected a MATLAB file with the variable '{key}', found none of that name")
    with reading(path, f"a MATLAB file with the variable '{key}'"):
        return loadmat(open_file(path), variable_names=[key], squeeze_me=True, struct_as_record=False)[key]


def variables(path: str | Path) -> list[str]:
    """Names of a MATLAB file's variables, whose sizes are within the limit."""
    from scipy.io import whosmat

    with reading(path, 'a MATLAB file (for version 7.3, save with -v7)'):
        check_structure(read_bytes(path), max_pixels() * 16)
        found = whosmat(open_file(path))
    for _, shape, _ in found:
        check_size(path, [math.prod(shape)], channels=16)
    return [name for name, _, _ in found]


def read_mat_map(
    path: str | Path, key: str | None = None, category: int | None = None, internal: str = 'unknown'
) -> np.ndarray:
    """A map out of a MATLAB file.

    Args:
        path: BSDS (``groundTruth``), SBD (``GTcls``, ``GTinst``), or a file with one variable that is a map.
        key: The variable, where there are several.
        category: For the boundaries of SBD: the class of 1 .. 20 whose contours are wanted.
        internal: What the inside of an SBD object of that class is: ``unknown``, as in the benchmark, which does not
            count contours found there, or ``background``.

    Returns:
        (H, W); (annotators, H, W) of BSDS; for SBD without ``category`` the class map ``Segmentation``.
    """
    names = variables(path)
    known = [name for name in ('groundTruth', 'GTcls', 'GTinst', 'LabelMap') if name in names]
    chosen = key or (known[0] if known else names[0] if len(names) == 1 else None)
    if chosen is None or chosen not in names:
        raise FileError(f"{path}: which of the variables {names} is the map? Say key='...'")
    content = read_mat(path, chosen)
    with reading(path, f"a map in the variable '{chosen}'"):
        if chosen == 'groundTruth':
            return np.stack([dense(cell.Boundaries) != 0 for cell in np.atleast_1d(content)]).astype(np.uint8)
        if hasattr(content, 'Segmentation'):
            return _sbd(content, category, internal)
        return np.asarray(content)


def dense(value: Any) -> np.ndarray:
    """A sparse or dense matrix as an array."""
    return np.asarray(value.todense() if hasattr(value, 'todense') else value)


def _sbd(content: Any, category: int | None, internal: str) -> np.ndarray:
    regions = np.asarray(content.Segmentation)
    if category is None:
        return regions
    kinds = np.atleast_1d(content.Categories) if hasattr(content, 'Categories') else None
    planes = [content.Boundaries] if not isinstance(content.Boundaries, np.ndarray) else list(content.Boundaries)
    if kinds is None:  # GTcls: a plane per class
        contours, inside = dense(planes[category - 1]) != 0, regions == category
    else:  # GTinst: a plane per object
        mine = [k for k, kind in enumerate(kinds.tolist()) if kind == category]
        contours = np.any([dense(planes[k]) != 0 for k in mine] or [np.zeros(regions.shape, bool)], axis=0)
        inside = np.isin(regions, [k + 1 for k in mine])
    label = contours.astype(np.int64)
    if internal == 'unknown':
        core = cv2.erode(inside.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
        label[core & ~contours] = IGNORE
    return label
