"""Readers of the files datasets come in; each returns plain numpy and fails by naming file, expected and found.

They know file formats only: what a value means (0 = unknown, class ids, units) is the dataset's business.
"""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mmmtl.errors import FileError


def _open(path: str | Path, expected: str, read: Callable[[Path], Any]) -> Any:
    """Run ``read`` with every way of failing turned into a :class:`FileError`."""
    path = Path(path)
    try:
        return read(path)
    except FileNotFoundError as error:
        raise FileError(f'{path}: expected {expected}, found no such file') from error
    except FileError:
        raise
    except (
        OSError,
        ValueError,
        TypeError,
        KeyError,
        SyntaxError,
        EOFError,
        UnidentifiedImageError,
        Image.DecompressionBombError,
        struct.error,
        zipfile.BadZipFile,
        NotImplementedError,
    ) as error:
        size = path.stat().st_size if path.is_file() else 'no regular file'
        raise FileError(
            f'{path}: expected {expected}, found a file that cannot be read '
            f'({size} bytes; {type(error).__name__}: {error})'
        ) from error


def read_image(path: str | Path) -> np.ndarray:
    """A photograph as uint8 RGB (H, W, 3); greyscale, palette and alpha are converted.

    The pixel order is that of the file (an EXIF orientation is not applied), because label maps are drawn on
    it.
    """

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            return np.array(image.convert('RGB'))

    return _open(path, 'an image', read)


def read_map(path: str | Path, grey: bool = False) -> np.ndarray:
    """A one-channel picture as stored, (H, W): class ids of a palette or grey image, 16-bit depths, ...

    Args:
        path: File.
        grey: Turn a coloured picture into grey instead of refusing it; for masks whose class ids are not at
            stake.
    """

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            if grey and image.mode in ('RGB', 'RGBA', 'LA', '1', 'P'):
                image = image.convert('L')
            if image.mode not in ('P', 'L', '1', 'I', 'I;16', 'I;16B', 'I;16L', 'F'):
                raise FileError(f'{path}: expected a one-channel picture (grey or palette), found mode {image.mode}')
            return np.array(image)

    return _open(path, 'a one-channel picture', read)


def read_picture(path: str | Path) -> np.ndarray:
    """A three-channel picture that holds numbers (normals, colours): uint8 (H, W, 3)."""

    def read(path: Path) -> np.ndarray:
        with Image.open(path) as image:
            if image.mode not in ('RGB', 'RGBA'):
                raise FileError(f'{path}: expected a three-channel picture, found mode {image.mode}')
            return np.array(image.convert('RGB'))

    return _open(path, 'a three-channel picture', read)


def read_npy(path: str | Path) -> np.ndarray:
    """An array of numbers from ``.npy`` (pickled objects are refused)."""

    def read(path: Path) -> np.ndarray:
        array = np.load(path, allow_pickle=False)
        if not isinstance(array, np.ndarray) or array.dtype.kind not in 'biuf':
            raise FileError(
                f'{path}: expected a .npy array of numbers, found {getattr(array, "dtype", type(array).__name__)}'
            )
        return array

    return _open(path, 'a .npy array of numbers', read)


def read_mat(path: str | Path, key: str) -> Any:
    """One variable of a MATLAB file (versions 4 to 7.2); structures come as nested ``mat_struct`` or arrays of them."""

    def read(path: Path) -> Any:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        if not path.is_file():
            raise FileNotFoundError(path)
        try:
            content = loadmat(path, variable_names=[key], squeeze_me=True, struct_as_record=False)
        except MatReadError as error:
            raise ValueError(str(error)) from error
        except Exception as error:  # a damaged file shows as zlib.error, struct.error, IndexError, ...
            raise ValueError(f'{type(error).__name__}: {error}') from error
        if key not in content:
            raise FileError(f"{path}: expected a MATLAB file with the variable '{key}', found none of that name")
        return content[key]

    return _open(path, f"a MATLAB file with the variable '{key}'", read)


def read_flo(path: str | Path) -> np.ndarray:
    """Optical flow in the Middlebury ``.flo`` form: float32 (H, W, 2), pixels to the right and down.

    Unknown pixels (a component beyond 1e9 in the file) are NaN.
    """

    def read(path: Path) -> np.ndarray:
        data = path.read_bytes()
        if data[:4] != b'PIEH':
            raise FileError(f"{path}: expected a .flo file (it starts with 'PIEH'), found {data[:4]!r}")
        width, height = struct.unpack('<ii', data[4:12])
        if width <= 0 or height <= 0 or len(data) != 12 + 8 * width * height:
            raise FileError(f'{path}: expected {12 + 8 * width * height} bytes for {width}x{height}, found {len(data)}')
        flow = np.frombuffer(data, '<f4', offset=12).reshape(height, width, 2).astype(np.float32)
        flow[(np.abs(flow) > 1e9).any(-1)] = np.nan
        return flow

    return _open(path, 'a .flo file', read)
