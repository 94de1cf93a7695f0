"""What stored numbers and colours mean as classes: tables, masks of 0 and 255, thresholds."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
from mmengine.logging import print_log

from mmmtl.errors import ConfigError, suggest
from mmmtl.tasks import IGNORE

T = TypeVar('T')
CITYSCAPES_19 = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""Cityscapes' label ids of the 19 classes that are evaluated, in their order."""
NAMED = {'cityscapes': dict.fromkeys((-1, *range(34), IGNORE), IGNORE) | {i: k for k, i in enumerate(CITYSCAPES_19)}}
"""Tables that have a name."""


def colour_codes(picture: np.ndarray) -> np.ndarray:
    """Colours, uint8 (..., 3), as one number each: int64 (...)."""
    r, g, b = np.moveaxis(picture.astype(np.int64), -1, 0)
    return (r << 16) | (g << 8) | b


def map_values(stored: np.ndarray, table: Mapping[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Stored integers → classes by a table.

    Returns:
        classes: int64, of the shape of ``stored``; 255 where the table has no entry.
        missing: Boolean: where it has none.
    """
    keys = np.array(sorted(table), np.int64)
    classes = np.array([table[k] for k in keys.tolist()], np.int64)
    codes = stored.astype(np.int64)
    place = np.searchsorted(keys, codes).clip(0, len(keys) - 1)
    missing = keys[place] != codes
    return np.where(missing, IGNORE, classes[place]), missing


def read_table(table: Any, classes: Sequence[str], where: str) -> tuple[dict[int, int], bool]:
    """A table as a person writes it: ``{0: 0, 255: 1}``, ``{(128, 64, 128): 'road', '#00dc00': 1}``, or a name.

    Args:
        table: ``{stored number or colour: class}``, a list of such pairs, or a key of :data:`NAMED`; a class is its
            number, its name, or 255 for unknown.
        classes: Names of the task's classes.
        where: The option, for messages.

    Returns:
        ``{stored number or colour code: class}``, and whether the keys are colours.
    """
    if isinstance(table, str):
        if table not in NAMED:
            raise ConfigError(f"{where}: '{table}' is not one of {sorted(NAMED)}.{suggest(table, NAMED)}")
        table = NAMED[table]
    pairs = list(table.items()) if isinstance(table, Mapping) else list(table) if isinstance(table, Iterable) else []
    if not pairs or any(isinstance(pair, (str, int)) or len(pair) != 2 for pair in pairs):
        raise ConfigError(f'{where}: expected {{stored number or colour: class, ...}}, found {table!r:.80}')
    keys = [_key(key, where) for key, _ in pairs]
    if len({len(key) for key in keys}) != 1 or len(set(keys)) != len(keys):
        raise ConfigError(f'{where}: expected numbers alone or colours alone, each once, found {pairs!r:.80}')
    codes = [key[0] if len(key) == 1 else (key[0] << 16) | (key[1] << 8) | key[2] for key in keys]
    return {code: _class(c, classes, where) for code, (_, c) in zip(codes, pairs)}, len(keys[0]) == 3


def _key(key: Any, where: str) -> tuple[int, ...]:
    try:
        if isinstance(key, str):
            text = key.strip(' ()[]')
            if text.startswith('#') and len(text) == 7:
                return int(text[1:3], 16), int(text[3:5], 16), int(text[5:], 16)
            found = tuple(int(part) for part in text.split(','))
        else:
            parts = tuple(key) if isinstance(key, Iterable) else (key,)
            found = tuple(int(part) for part in parts if int(part) == part)
            found = found if len(found) == len(parts) else ()
    except (TypeError, ValueError):
        found = ()
    if len(found) == 1 or (len(found) == 3 and all(0 <= v <= 255 for v in found)):
        return found
    raise ConfigError(f"{where}: expected a number, a colour (r, g, b) or '#rrggbb', found {key!r}")


def _class(value: Any, classes: Sequence[str], where: str) -> int:
    if isinstance(value, str) and value in classes:
        return list(classes).index(value)
    if (
        not isinstance(value, (int, float, np.number))
        or int(value) != value
        or not (0 <= int(value) < len(classes) or value == IGNORE)
    ):
        raise ConfigError(
            f'{where}: expected a class of 0..{len(classes) - 1}, its name, or {IGNORE} for unknown, found {value!r}.'
            f'{suggest(str(value), classes)}'
        )
    return int(value)


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` of the items, evenly spread over them."""
    step = max(1, -(-len(items) // count))
    return list(items[::step])


def numbers_of(maps: Iterable[np.ndarray], most: int = 16) -> set[int]:
    """The different numbers of maps (H, W); none of maps that hold more than ``most``, or anything but whole numbers."""
    seen: set[int] = set()
    for stored in maps:
        if stored.dtype.kind not in 'iu' or stored.ndim != 2:
            return set()
        seen |= set(np.unique(stored).tolist())
        if len(seen) > most:
            return set()
    return seen


def full_scale(numbers: set[int]) -> int | None:
    """The stored number that means "yes" in masks of two numbers, 0 and the largest of their type, or None.

    Masks for two classes are written as 0 and 255 (65535 with 16 bits) by most tools, while 255 also is the usual mark
    of an unknown pixel. Where the maps hold these two numbers and never a 1, it is the second class.
    """
    return max(numbers) if numbers in ({0, 255}, {0, 65535}) else None


def full_scale_mask(maps: Iterable[np.ndarray]) -> int | None:
    """:func:`full_scale` of the numbers that maps hold."""
    return full_scale(numbers_of(maps, 2))


def join_annotators(maps: np.ndarray, how: str) -> np.ndarray:
    """Maps (A, H, W) of 0, other numbers and 255 (unknown) by several people → one of 0, 1 and 255.

    Args:
        maps: Of each; where one of them knows nothing, the others decide.
        how: ``any``: 1 where one of them marked it; ``majority``: where most did, and 255 where fewer did.
    """
    known = maps != IGNORE
    votes = ((maps > 0) & known).sum(0)
    enough = votes > 0 if how == 'any' else 2 * votes > known.sum(0)
    rest = np.where((votes > 0) | ~known.any(0), IGNORE, 0)
    return np.where(enough, 1, rest).astype(np.uint8)


def tell_mask(where: str, white: int) -> None:
    """Say in the log that masks are read as 0 and ``white``."""
    print_log(
        f'{where}: the masks hold 0 and {white} alone: {white} is read as class 1 (values={{0: 0, {white}: 1}}). If '
        f'{white} marks unknown pixels, say values={{0: 0, 1: 1, {white}: {IGNORE}}}',
        logger='current',
        level=logging.INFO,
    )
