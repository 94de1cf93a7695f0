"""PASCAL-Part annotations: the 24 parts of a person merged to six, and the list of what is in which image."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.matlab import read_mat
from mmmtl.datasets.io.storage import is_file, is_local, read_bytes
from mmmtl.errors import FileError
from mmmtl.utils.files import read_json, write_atomically

PERSON = 15
"""Category of a person in PASCAL VOC."""

GROUPS = {
    part: number
    for number, parts in enumerate(
        (
            'head hair lear rear leye reye lebrow rebrow mouth nose',
            'neck torso',
            'luarm ruarm',
            'llarm rlarm lhand rhand',
            'luleg ruleg',
            'llleg rlleg lfoot rfoot',
        ),
        1,
    )
    for part in parts.split()
}
"""Part of a person → 1 head, 2 torso, 3 upper arm, 4 lower arm and hand, 5 upper leg, 6 lower leg and foot."""


def _objects(path: str) -> list[Any]:
    """Objects of an annotation file, each with ``class_ind``, ``mask`` and ``parts``."""
    anno = read_mat(path, 'anno')
    if not hasattr(anno, 'objects'):
        raise FileError(f"{path}: expected a structure 'anno' with the field 'objects', found {type(anno).__name__}")
    objects = [o for o in np.atleast_1d(anno.objects) if hasattr(o, '_fieldnames')]
    for thing in objects:
        missing = {'class_ind', 'mask', 'parts'} - set(thing._fieldnames)
        if missing:
            raise FileError(
                f'{path}: expected objects with class_ind, mask and parts, found one without {sorted(missing)}'
            )
    return objects


def merge_parts(path: str) -> np.ndarray | None:
    """Six-part map of all people in an image.

    Args:
        path: ``human_parts/ID.mat``.

    Returns:
        uint8 (H, W): 0 background, 1 .. 6 as in :data:`GROUPS`; None when no person has annotated parts.

    Raises:
        FileError: An unreadable file, an unknown part, or a mask of another size; names file, expected,
            found.
    """
    merged = None
    for thing in _objects(path):
        parts = [p for p in np.atleast_1d(thing.parts) if hasattr(p, 'part_name')]
        if int(thing.class_ind) != PERSON or not parts:
            continue
        if merged is None:
            merged = np.zeros(np.shape(thing.mask), np.uint8)
        for part in parts:
            group = GROUPS.get(str(part.part_name))
            if group is None:
                raise FileError(f"{path}: expected parts of a person ({', '.join(GROUPS)}), found '{part.part_name}'")
            mask = np.asarray(part.mask) > 0
            if mask.shape != merged.shape:
                raise FileError(
                    f"{path}: expected part masks of {merged.shape}, found '{part.part_name}' of {mask.shape}"
                )
            merged[mask] = group
    return merged


def object_categories(path: str) -> list[int]:
    """Category of every object of an annotation file, -1 for one whose mask is empty."""
    return [int(o.class_ind) if np.any(np.asarray(o.mask) > 0) else -1 for o in _objects(path)]


def read_part_index(path: str | Path) -> dict[str, list[int]]:
    """Read ``ImageSets/Parts/SPLIT.txt``: JSON ``{id: [category of every object, or -1]}``; empty without the file.

    Raises:
        FileError: A file that is something else.
    """
    if not is_file(path):
        return {}
    remedy = 'remove it, or let tools/dataset_converters/prepare_labels.py write it again'
    try:
        index = read_json(path) if is_local(path) else json.loads(read_bytes(path))
    except ValueError as error:
        raise FileError(f'{path}: expected JSON {{id: [categories]}}, found no JSON ({error}): {remedy}') from error
    if not isinstance(index, Mapping) or not all(isinstance(v, list) for v in index.values()):
        raise FileError(f'{path}: expected JSON {{id: [categories]}}, found {str(index)[:60]}: {remedy}')
    return dict(index)


def write_part_index(path: str | Path, index: Mapping[str, Iterable[int]]) -> None:
    """Write the index in the published form, never half."""
    write_atomically(path, json.dumps({i: list(index[i]) for i in sorted(index)}))
