"""Readers of arrays that are no pictures (NPY, NPZ, FLO, PFM, HDF5), and the flow pictures of KITTI."""

from __future__ import annotations

import io
import math
import struct
import zipfile
from pathlib import Path

import numpy as np

from mmmtl.errors import FileError

from .guard import check_size, reading
from .storage import is_local, open_file, read_bytes


def read_npy(path: str | Path) -> np.ndarray:
    """An array of numbers from ``.npy`` (pickled objects are refused)."""
    with reading(path, 'a .npy array of numbers'):
        # mapped, so that a header which announces more than the file holds is refused before memory is taken
        array = np.load(path, mmap_mode='r', allow_pickle=False) if is_local(path) else _array_of(read_bytes(path))
        if not isinstance(array, np.ndarray) or array.dtype.kind not in 'biuf':
            raise FileError(
                f'{path}: expected a .npy array of numbers, found {getattr(array, "dtype", type(array).__name__)}'
            )
        return np.array(array, array.dtype.newbyteorder('='))


def read_metres(path: str | Path) -> np.ndarray:
    """A map of depth, float (H, W), from ``.npy``; whole numbers, which may be of another unit, are refused."""
    metres = squeezed(read_npy(path), path)
    if metres.dtype.kind != 'f':
        raise FileError(f'{path}: expected metres as float (H, W), found {metres.dtype} {metres.shape}')
    return metres


def _array_of(content: bytes) -> np.ndarray:
    """The array of a ``.npy`` in memory, not copied."""
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, by_columns, dtype = header(file)
    if dtype.hasobject:
        raise ValueError('an array of Python objects')
    array = np.frombuffer(content, dtype, math.prod(shape), file.tell())
    return array.reshape(shape[::-1]).T if by_columns else array.reshape(shape)


def read_npz(path: str | Path, key: str) -> np.ndarray:
    """An array of numbers by its name in an ``.npz``."""
    with reading(path, f"an .npz with the array '{key}'"):
        with zipfile.ZipFile(open_file(path)) as archive:
            check_size(path, [archive.getinfo(f'{key}.npy').file_size], channels=16)
        with open_file(path) as file, np.load(file, allow_pickle=False) as stored:
            return stored[key]


def read_hdf5(path: str | Path) -> np.ndarray:
    """The data set called ``dataset`` of a file, floats as float32."""
    try:
        import h5py
    except ImportError as error:
        raise FileError(f'{path}: reading HDF5 needs h5py: pip install "mmmtl[datasets]"') from error
    with reading(path, "an HDF5 file with 'dataset'"):
        with open_file(path) as content, h5py.File(content, 'r') as file:
            check_size(path, file['dataset'].shape, channels=16)
            array = file['dataset'][()]
        return array.astype(np.float32) if array.dtype.kind == 'f' else array


def read_flo(path: str | Path) -> np.ndarray:
    """Optical flow in the Middlebury ``.flo`` form: float32 (H, W, 2), pixels to the right and down.

    Unknown pixels (a component beyond 1e9 in the file) are NaN.
    """
    with reading(path, 'a .flo file'):
        data = read_bytes(path)
        if data[:4] != b'PIEH':
            raise FileError(f"{path}: expected a .flo file (it starts with 'PIEH'), found {data[:4]!r}")
        width, height = struct.unpack('<ii', data[4:12])
        if width <= 0 or height <= 0 or len(data) != 12 + 8 * width * height:
            raise FileError(f'{path}: expected {12 + 8 * width * height} bytes for {width}x{height}, found {len(data)}')
        flow = np.frombuffer(data, '<f4', offset=12).reshape(height, width, 2).astype(np.float32)
        flow[(np.abs(flow) > 1e9).any(-1)] = np.nan
        return flow


def read_pfm(path: str | Path) -> np.ndarray:
    """A portable float map: float32 (H, W) or (H, W, 3), the first row the upper one."""
    with reading(path, 'a portable float map (.pfm)'), open_file(path) as file:
        kind, size, scale = (file.readline(80).strip() for _ in range(3))
        if kind not in (b'Pf', b'PF'):
            raise FileError(f"{path}: expected a file that starts with 'Pf' or 'PF', found {kind[:8]!r}")
        width, height = (int(n) for n in size.split())
        data = np.frombuffer(file.read(), '<f4' if float(scale) < 0 else '>f4')
        shape = (height, width, 3) if kind == b'PF' else (height, width)
        if min(shape) <= 0 or data.size != math.prod(shape):
            raise FileError(f'{path}: expected {shape} numbers, found {data.size}')
        return np.ascontiguousarray(data.reshape(shape)[::-1], np.float32)


def decode_flow(picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A flow picture in KITTI's code, uint16 (H, W, 3) RGB: u and v as ``64 * pixels + 32768``, blue 0 where unknown.

    Returns:
        flow: float32 (2, H, W), pixels to the right and down.
        valid: boolean (H, W).
    """
    flow = (picture[..., :2].astype(np.float32) - 32768) / 64
    return flow.transpose(2, 0, 1), picture[..., 2] > 0


def encode_flow(flow: np.ndarray, valid: np.ndarray) -> np.ndarray:
    """The inverse of :func:`decode_flow`; flow is rounded to 1/64 pixel and may reach ±511 pixels."""
    known = np.where(valid[None], flow, 0).astype(np.float64)
    packed = np.rint(known * 64 + 32768).clip(0, 65535)
    return np.stack([packed[0], packed[1], valid], -1).astype(np.uint16)


def squeezed(array: np.ndarray, path: str | Path, channels: int = 1) -> np.ndarray:
    """A map (H, W), or (H, W, C) for several channels, whatever axes of length one are around it.

    Raises:
        FileError: Another shape; ``path`` is the file it came from.
    """
    plane = np.squeeze(array)
    if plane.ndim != (2 if channels == 1 else 3) or (channels > 1 and plane.shape[-1] != channels):
        expected = '(H, W, 1) or (H, W)' if channels == 1 else f'(H, W, {channels})'
        raise FileError(f'{path}: expected {expected}, found {array.shape}')
    return plane
