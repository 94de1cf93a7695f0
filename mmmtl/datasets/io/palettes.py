"""What the ids of palettes in label pictures can be trusted to mean."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmmtl.tasks import IGNORE

from .pictures import Picture, decode, has_palette


def two_levels(picture: Picture) -> np.ndarray | None:
    """0 and 1 of a picture whose palette shows black and white alone, whichever of them comes first; None of others.

    Programs that compress pictures order the colours of a palette as they like.
    """
    if picture.palette is None or picture.pixels.size == 0:
        return None
    ids = np.unique(picture.pixels)
    shown = picture.palette[ids]
    if not np.isin(shown, (0, 255)).all() or (shown != shown[:, :1]).any():
        return None
    return (picture.palette[:, 0] == 255).astype(np.uint8)[picture.pixels]


def palette_remark(files: Sequence[Path], classes: int) -> str:
    """What makes it doubtful that the ids of palettes are classes; '' where nothing does.

    Args:
        files: Some label files of a folder.
        classes: Number of classes of their task.
    """
    colours: dict[int, tuple[tuple[int, ...], str]] = {}
    for path in files:
        if not has_palette(path):
            continue
        picture = decode(path)
        assert picture.palette is not None
        ids = np.unique(picture.pixels)
        shown = picture.palette[ids]
        greys = shown[:, 0]
        grey = bool((shown == shown[:, :1]).all())
        if grey and (greys != ids).any() and ((greys < classes) | (greys == IGNORE)).all() and greys.max() < IGNORE:
            return (
                f'{path.name} has a palette of greys that are classes, too, but other ones than its ids (id '
                f'{int(ids[greys != ids][0])} is grey {int(greys[greys != ids][0])}), as programs make it that compress '
                f'pictures'
            )
        for i, colour in zip(ids.tolist(), map(tuple, shown.tolist())):
            first, name = colours.setdefault(i, (colour, path.name))
            if first != colour:
                return f'id {i} has the colour {first} in the palette of {name} and {colour} in that of {path.name}'
    return ''
