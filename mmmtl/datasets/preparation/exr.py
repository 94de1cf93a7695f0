"""A reader of OpenEXR pictures: scan lines, uncompressed or with run lengths or ZIP, which covers most data sets.

Written from the file layout document of OpenEXR. Other compressions (PIZ, B44, DWA) and tiles are read by the package
``OpenEXR`` where it is installed.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.errors import FileError

COMPRESSION = ('NONE', 'RLE', 'ZIPS', 'ZIP', 'PIZ', 'PXR24', 'B44', 'B44A', 'DWAA', 'DWAB')
LINES = {'NONE': 1, 'RLE': 1, 'ZIPS': 1, 'ZIP': 16}
"""Scan lines in a block."""
KINDS = (np.dtype('<u4'), np.dtype('<f2'), np.dtype('<f4'))


def read_exr(path: str | Path, channels: Sequence[str] = ('R', 'G', 'B')) -> np.ndarray:
    """Channels of an OpenEXR picture: float32 (H, W, C).

    Raises:
        FileError: No such file, not a picture of this form, or a missing channel.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise FileError(f'{path}: expected an OpenEXR picture, found none that can be read ({error})') from error
    try:
        header, place, tiled = _header(data)
        names = [name for name, _ in header['channels']]
        if missing := [name for name in channels if name not in names]:
            raise FileError(f'{path}: expected the channels {list(channels)}, found {names} (missing: {missing})')
        if tiled or header['compression'] not in LINES:
            return _by_package(path, channels, 'tiles' if tiled else header['compression'])
        planes = _planes(data, place, header)
    except (struct.error, zlib.error, ValueError, IndexError, KeyError) as error:
        if isinstance(error, FileError):
            raise
        raise FileError(
            f'{path}: expected an OpenEXR picture, found a damaged or other file '
            f'({len(data)} bytes; {type(error).__name__}: {error})'
        ) from error
    return np.stack([planes[name] for name in channels], -1)


def _text(data: bytes, place: int) -> tuple[str, int]:
    end = data.index(b'\0', place)
    return data[place:end].decode('latin-1'), end + 1


def _header(data: bytes) -> tuple[dict[str, Any], int, bool]:
    """Attributes that matter, where the table of blocks begins, and whether the picture is tiled."""
    magic, version = struct.unpack_from('<II', data)
    if magic != 20000630:
        raise ValueError('it does not start as one')
    if version & 0x1800:
        raise ValueError('deep and multi-part files are not read')
    header: dict[str, Any] = {}
    place = 8
    while data[place]:
        name, place = _text(data, place)
        _, place = _text(data, place)
        (size,) = struct.unpack_from('<i', data, place)
        value, place = data[place + 4 : place + 4 + size], place + 4 + size
        if name == 'channels':
            header[name] = _channels(value)
        elif name == 'compression':
            header[name] = COMPRESSION[value[0]]
        elif name == 'dataWindow':
            header[name] = struct.unpack('<4i', value)
    return header, place + 1, bool(version & 0x200)


def _channels(value: bytes) -> list[tuple[str, np.dtype]]:
    found, place = [], 0
    while value[place]:
        name, place = _text(value, place)
        kind, _, across, down = struct.unpack_from('<iIii', value, place)
        if (across, down) != (1, 1):
            raise ValueError(f"channel '{name}' is stored at another resolution")
        found.append((name, KINDS[kind]))
        place += 16
    return found


def _planes(data: bytes, place: int, header: dict[str, Any]) -> dict[str, np.ndarray]:
    """Every channel, float32 (H, W)."""
    left, top, right, bottom = header['dataWindow']
    width, height, lines = right - left + 1, bottom - top + 1, LINES[header['compression']]
    planes = {name: np.empty((height, width), np.float32) for name, _ in header['channels']}
    row = sum(kind.itemsize for _, kind in header['channels']) * width
    for start in struct.unpack_from(f'<{-(-height // lines)}Q', data, place):
        first, size = struct.unpack_from('<ii', data, start)
        count = min(lines, bottom - first + 1)
        block = data[start + 8 : start + 8 + size]
        if len(block) != size:
            raise ValueError('it ends in the middle of a block')
        if header['compression'] != 'NONE' and size < count * row:
            block = _restore(zlib.decompress(block) if 'ZIP' in header['compression'] else _run_lengths(block))
        at = 0
        for line in range(first - top, first - top + count):
            for name, kind in header['channels']:
                planes[name][line] = np.frombuffer(block, kind, width, at)
                at += width * kind.itemsize
    return planes


def _restore(block: bytes) -> bytes:
    """Undo the two steps before compression: bytes as differences, and even and odd bytes apart."""
    steps = np.frombuffer(block, np.uint8).astype(np.int64)
    steps[1:] -= 128
    values = (np.cumsum(steps) & 255).astype(np.uint8)
    half = (len(values) + 1) // 2
    out = np.empty_like(values)
    out[0::2], out[1::2] = values[:half], values[half:]
    return out.tobytes()


def _run_lengths(block: bytes) -> bytes:
    out, place = bytearray(), 0
    while place < len(block):
        (count,) = struct.unpack_from('b', block, place)
        if count < 0:
            out += block[place + 1 : place + 1 - count]
            place += 1 - count
        else:
            out += block[place + 1 : place + 2] * (count + 1)
            place += 2
    return bytes(out)


def _by_package(path: Path, channels: Sequence[str], form: str) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError as error:
        raise FileError(
            f'{path}: expected scan lines with the compression NONE, RLE, ZIPS or ZIP, found {form}: '
            f'pip install OpenEXR'
        ) from error
    with OpenEXR.File(str(path), separate_channels=True) as file:
        return np.stack([np.asarray(file.channels()[name].pixels, np.float32) for name in channels], -1)
