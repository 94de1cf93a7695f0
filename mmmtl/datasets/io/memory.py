"""Photographs in whatever form they come: pictures in memory of other libraries, and the file behind a sample."""

from __future__ import annotations

import os.path as osp
from typing import Any

import numpy as np
from PIL import Image, ImageOps
from torch import Tensor

from mmmtl.errors import FileError, InputError

from .pictures import read_image, warn_if_dark


def to_rgb(picture: np.ndarray | Tensor | Image.Image, name: str, white: float | None = None) -> np.ndarray:
    """A picture in memory as uint8 RGB (H, W, 3).

    Args:
        picture: An array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), whose alpha is dropped; a tensor with channels first,
            (C, H, W), or (H, W); or an image of Pillow, which is turned as its EXIF orientation says. Numbers are uint8,
            uint16, boolean, or floats in [0, 1], where NaN counts as black.
        name: For messages.
        white: The number that is white in a picture of other numbers than uint8; default: 65535, 1 for floats.

    Raises:
        InputError: Anything else.
    """
    if isinstance(picture, Image.Image):
        picture = ImageOps.exif_transpose(picture)
        deep = picture.mode == 'F' or picture.mode.startswith('I')
        picture = np.asarray(picture if deep else picture.convert('RGB'))
        if picture.dtype == np.int32 and picture.min() >= 0 and picture.max() <= 65535:  # Pillow's form of 16 bits
            picture = picture.astype(np.uint16)
    elif isinstance(picture, Tensor):
        picture = picture.detach().cpu()
        picture = (picture.float() if picture.is_floating_point() else picture).numpy()  # numpy knows no bfloat16
        picture = np.moveaxis(picture, 0, -1) if picture.ndim == 3 else picture
    shape, kind = picture.shape, picture.dtype
    if picture.ndim == 2:
        picture = picture[..., None]
    if picture.ndim != 3 or picture.shape[-1] not in (1, 3, 4) or 0 in shape:
        raise InputError(
            f"'{name}': expected an image, uint8 RGB (H, W, 3), or (H, W), (H, W, 1) or (H, W, 4), found {kind} {shape}; "
            'of a tensor, the channels come first'
        )
    picture = picture[..., :3] if picture.shape[-1] > 1 else np.repeat(picture, 3, -1)
    if picture.dtype == np.uint8:
        return np.ascontiguousarray(picture)
    if picture.dtype.kind == 'f':
        picture = np.nan_to_num(picture.astype(np.float32), nan=0.0)
    scale = {'f': 1.0, 'b': 1.0, 'u': 65535.0}.get(picture.dtype.kind) if picture.dtype.itemsize <= 4 else None
    if white is not None and picture.dtype.kind in 'fiu':
        scale, picture = white, picture.clip(0, white)
    elif picture.dtype.kind == 'u':
        warn_if_dark(float(picture.max()), 65535)
    if scale is None or picture.min() < 0 or picture.max() > scale * 1.001:
        numbers = f' from {picture.min():g} to {picture.max():g}' if picture.dtype.kind in 'iuf' else ''
        raise InputError(
            f"'{name}': expected uint8, uint16, or floats in [0, 1], found {kind}{numbers}: divide by what is white, or say "
            'white_point'
        )
    return np.rint(picture.astype(np.float32) * (255 / scale)).clip(0, 255).astype(np.uint8)


def original_photograph(sample: Any) -> np.ndarray | None:
    """The photograph of a data sample as its file holds it, uint8 RGB (H, W, 3); None without one (generated scenes)."""
    path = sample.get('img_path')
    if not path or not osp.isfile(path):
        return None
    try:
        image = read_image(path, **sample.get('photograph', {}))
    except FileError:
        return None
    # where the data set has cut or turned it, predictions do not lie on it
    return image if tuple(sample.get('ori_shape', image.shape[:2])) == image.shape[:2] else None
