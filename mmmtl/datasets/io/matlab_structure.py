"""The skeleton of a MATLAB file of version 5, looked at before SciPy's reader, which believes every tag it meets.

A type out of its table, or a size that the data does not have, ends that reader, and the process with it.
"""

from __future__ import annotations

import math
import struct
import zlib

_SIZES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, 16: 1, 17: 2, 18: 4}
"""Bytes per number of the types of data."""
_MATRIX, _COMPRESSED = 14, 15
_CELL, _STRUCT, _SPARSE, _CLASSES = 1, 2, 5, range(1, 16)
_DEPTH = 32


def check_structure(data: bytes, limit: int) -> None:
    """Walk through the elements of a file of version 5; other versions are left to their readers.

    Args:
        data: The file's content.
        limit: Bytes that a compressed variable may unpack to.

    Raises:
        ValueError: A tag that does not fit the data.
    """
    if len(data) < 128 or 0 in data[:4]:  # version 4
        return
    order = {b'IM': '<', b'MI': '>'}.get(data[126:128])
    if order is None or data[125 if order == '<' else 124] != 1:
        return
    for kind, content in _elements(data[128:], order):
        if kind == _COMPRESSED:
            unpacker = zlib.decompressobj()
            content = unpacker.decompress(content, limit)
            if unpacker.unconsumed_tail:
                raise ValueError(f'a variable unpacks to more than {limit / 2**20:.0f} MiB')
            elements = _elements(content, order)
            if [inner for inner, _ in elements] != [_MATRIX]:
                raise ValueError('a compressed part holds no variable')
            content = elements[0][1]
        elif kind != _MATRIX:
            raise ValueError(f'a variable of type {kind}')
        _check_matrix(content, order, 0)


def _elements(data: bytes, order: str) -> list[tuple[int, bytes]]:
    """The elements that fill ``data``: (type, content)."""
    found, place = [], 0
    while place < len(data):
        if place + 8 > len(data):
            raise ValueError('the file ends within a tag')
        first, size = struct.unpack_from(f'{order}II', data, place)
        if first >> 16:  # up to four bytes within the tag
            kind, size, start, end = first & 0xFFFF, first >> 16, place + 4, place + 8
            if size > 4:
                raise ValueError(f'a short element of {size} bytes')
        else:
            kind, start = first, place + 8
            end = start + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data) or kind not in (*_SIZES, _MATRIX, _COMPRESSED) or size % _SIZES.get(kind, 1):
            raise ValueError(f'an element of type {kind} with {size} bytes')
        found.append((kind, data[start : start + size]))
        place = end
    return found


def _check_matrix(data: bytes, order: str, depth: int) -> None:
    """Check the parts of an array: flags, dimensions, name, and as much data as the dimensions say."""
    if not data:  # an empty field
        return
    parts = _elements(data, order)
    if depth > _DEPTH or [kind for kind, _ in parts[:3]] != [6, 5, 1] or len(parts[0][1]) != 8:
        raise ValueError('an array without flags, dimensions and name')
    flags = struct.unpack(f'{order}II', parts[0][1])[0]
    kind, imaginary = flags & 0xFF, bool(flags & 0x800)
    dims = struct.unpack(f'{order}{len(parts[1][1]) // 4}i', parts[1][1])
    count, rest = math.prod(dims), parts[3:]
    if kind not in _CLASSES or kind == 3 or min(dims, default=-1) < 0 or len(dims) < 2:
        raise ValueError(f'an array of class {kind} with dimensions {dims}')
    if kind == _STRUCT:
        if [k for k, _ in rest[:2]] != [5, 1] or len(rest[0][1]) != 4:
            raise ValueError('a structure without names of fields')
        width = struct.unpack(f'{order}i', rest[0][1])[0]
        if width < 1 or len(rest[1][1]) % width:
            raise ValueError(f'a structure with names of {width} bytes')
        count, rest = count * (len(rest[1][1]) // width), rest[2:]
    if kind in (_CELL, _STRUCT):
        if len(rest) != count or any(inner != _MATRIX for inner, _ in rest):
            raise ValueError(f'{count} parts announced, {len(rest)} found')
        for _, content in rest:
            _check_matrix(content, order, depth + 1)
        return
    wanted = (3 if kind == _SPARSE else 1) + imaginary
    if len(rest) != wanted or any(inner not in _SIZES for inner, _ in rest):
        raise ValueError(f'an array with {len(rest)} parts of data, expected {wanted}')
    for inner, content in rest if kind != _SPARSE else ():
        held = len(content) // _SIZES[inner]
        if held != count and not (kind == 4 and inner in (1, 2, 16, 17, 18) and held >= count):  # text may take more
            raise ValueError(f'{held} numbers for dimensions {dims}')
    if kind == _SPARSE:
        _check_sparse(rest, dims, order)


def _check_sparse(parts: list[tuple[int, bytes]], dims: tuple[int, ...], order: str) -> None:
    """Row indices within the rows, and starts of columns that rise up to their number."""
    if [kind for kind, _ in parts[:2]] != [5, 5]:
        raise ValueError('a sparse array without indices')
    rows, starts = (struct.unpack(f'{order}{len(content) // 4}i', content) for _, content in parts[:2])
    rising = all(a <= b for a, b in zip(starts, starts[1:]))
    used = starts[-1] if starts else 0
    if len(starts) != dims[1] + 1 or starts[0] != 0 or not rising or used > len(rows):
        raise ValueError('a sparse array whose columns do not fit its dimensions')
    if any(not 0 <= row < dims[0] for row in rows[:used]):
        raise ValueError('a sparse array with an index outside of its rows')
    if any(len(content) // _SIZES[kind] < used for kind, content in parts[2:]):
        raise ValueError('a sparse array with fewer numbers than indices')
