"""Readers of numbers packed into pictures and other rarer forms: 16-bit colour, PFM, the flow pictures of KITTI."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from mmmtl.errors import FileError

from .label_files import _open


def read_colour16(path: str | Path) -> np.ndarray:
    """A PNG of three 16-bit channels: uint16 (H, W, 3) in the order RGB."""

    def read(path: Path) -> np.ndarray:
        picture = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
        if picture is None:
            raise ValueError('no picture that OpenCV can decode')
        if picture.dtype != np.uint16 or picture.ndim != 3 or picture.shape[-1] != 3:
            raise FileError(f'{path}: expected three 16-bit channels, found {picture.dtype} of shape {picture.shape}')
        return np.ascontiguousarray(picture[..., ::-1])

    return _open(path, 'a picture of three 16-bit channels', read)


def read_pfm(path: str | Path) -> np.ndarray:
    """A portable float map: float32 (H, W) or (H, W, 3), the first row the upper one."""

    def read(path: Path) -> np.ndarray:
        with path.open('rb') as file:
            kind, size, scale = (file.readline().strip() for _ in range(3))
            if kind not in (b'Pf', b'PF'):
                raise FileError(f"{path}: expected a file that starts with 'Pf' or 'PF', found {kind[:8]!r}")
            width, height = (int(n) for n in size.split())
            data = np.frombuffer(file.read(), '<f4' if float(scale) < 0 else '>f4')
        shape = (height, width, 3) if kind == b'PF' else (height, width)
        if data.size != int(np.prod(shape)):
            raise FileError(f'{path}: expected {shape} numbers, found {data.size}')
        return np.ascontiguousarray(data.reshape(shape)[::-1], np.float32)

    return _open(path, 'a portable float map (.pfm)', read)


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


def png_bytes(picture: np.ndarray) -> bytes:
    """A picture (H, W) or RGB (H, W, 3) of 8 or 16 bits as a PNG file."""
    stored = picture if picture.ndim == 2 else picture[..., ::-1]
    done, data = cv2.imencode('.png', np.ascontiguousarray(stored))
    if not done:
        raise ValueError(f'cannot encode {picture.dtype} of shape {picture.shape} as PNG')
    return data.tobytes()


def luminance(rgb: np.ndarray) -> np.ndarray:
    """Grey value of RGB (..., 3) by the CCIR 601 weights 0.3, 0.59, 0.11 as Hypersim's tools round them."""
    return rgb[..., 0] * 0.3 + rgb[..., 1] * 0.59 + rgb[..., 2] * 0.11
