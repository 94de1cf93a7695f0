"""The one reader of pictures: every pixel at the depth its file stores, whatever the file is.

Photographs become uint8 RGB from here, upright, scaled by the range of their type; label maps stay the numbers that are
stored: ids of a palette, 1 to 32 bits, floats.
"""

from __future__ import annotations

import struct
import threading
import warnings
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mmmtl.errors import FileError

from .exr import read_exr
from .guard import check_size, reading
from .storage import is_local, open_file, read_bytes

_ORIENTATION = 0x0112
_opening = threading.Lock()


@dataclass
class Picture:
    """What a file holds.

    Attributes:
        pixels: (H, W) numbers, or (H, W, C) with C of 3 or more; ids where there is a palette.
        mode: Pillow's word for the form, or the type of the numbers and their channels.
        bits: Bits of an unsigned number, where its type has more; 0 for all of its type's.
        alpha: (H, W), or None.
        palette: uint8 (n, 3) RGB of the ids, or None.
        orientation: EXIF orientation, 1 for upright.
        frames: Pictures of this size in the file; the pixels are those of the first.
    """

    pixels: np.ndarray
    mode: str
    bits: int = 0
    alpha: np.ndarray | None = None
    palette: np.ndarray | None = None
    orientation: int = 1
    frames: int = 1

    @property
    def white(self) -> float:
        """The largest number of the type; 1 for floats."""
        if self.pixels.dtype.kind == 'f':
            return 1.0
        return float(2**self.bits - 1 if self.bits else np.iinfo(self.pixels.dtype).max)

    def colours(self) -> np.ndarray:
        """The pixels with the colours of the palette in place of its ids."""
        return self.pixels if self.palette is None else self.palette[self.pixels]


def decode(path: str | Path, expected: str = 'a picture') -> Picture:
    """A picture as stored; of several frames the first. ``expected`` is what messages call it.

    Raises:
        FileError: No such file, one that is damaged or no picture, or one with more pixels than
            :data:`~mmmtl.datasets.io.guard.MAX_PIXELS`.
    """
    path = Path(path)
    with reading(path, expected):
        with open_file(path) as file:
            head = file.read(33)
        if head[:4] in (b'II*\0', b'MM\0*', b'II+\0', b'MM\0+'):
            return _tiff(path)
        if head[:4] == b'\x76\x2f\x31\x01':
            planes = read_exr(path, None)
            return Picture(planes[..., 0] if planes.shape[-1] == 1 else planes, 'EXR')
        depth, kind = (head[24], head[25]) if head[:8] == b'\x89PNG\r\n\x1a\n' and len(head) == 33 else (8, 0)
        if depth == 16 and kind != 0:  # Pillow cuts 16-bit colours down to 8
            check_size(path, struct.unpack('>II', head[16:24])[::-1])
            return _opencv(path, orientation=_orientation(path), grey=kind == 4)
        return _pillow(path, depth)


def _open(path: Path) -> Image.Image:
    """Open with this package's own limit of pixels instead of Pillow's."""
    with _opening:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = _image(path)
        except UnidentifiedImageError:
            if path.suffix.lower() not in ('.heic', '.heif'):
                raise
            try:
                from pillow_heif import register_heif_opener
            except ImportError as error:
                raise FileError(
                    f"{path}: reading HEIC needs a package: pip install 'mmmtl[heif]' or pillow-heif"
                ) from error
            register_heif_opener()
            image = _image(path)
        finally:
            Image.MAX_IMAGE_PIXELS = before
    check_size(path, image.size[::-1])
    return image


def _image(path: Path) -> Image.Image:
    """Opened by its name where it has one, so that closing the image closes the file."""
    return Image.open(path if is_local(path) else open_file(path))


def _orientation(path: Path) -> int:
    with _open(path) as image:
        return _turn_of(image)


def _turn_of(image: Image.Image) -> int:
    turn = image.getexif().get(_ORIENTATION, 1)
    return turn if turn in range(1, 9) else 1


def _pillow(path: Path, bits: int = 8) -> Picture:
    """A picture by Pillow; ``bits`` are those of a number in the file."""
    with _open(path) as image:
        mode, palette, alpha = image.mode, None, None
        if mode in ('P', 'PA'):
            palette = np.array(image.getpalette('RGB') or [], np.uint8).reshape(-1, 3)
            palette = np.pad(palette, ((0, 256 - len(palette)), (0, 0)))
        if mode in ('LA', 'La', 'PA', 'RGBA', 'RGBa'):
            straight = image if mode[-1] == 'A' else image.convert(mode.upper())
            pixels = np.array(straight)
            pixels, alpha = pixels[..., :-1], pixels[..., -1]
            pixels = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        elif mode in ('1', 'L', 'P', 'RGB', 'I', 'F') or mode.startswith('I;16'):
            pixels = np.array(image)
            if mode == 'I' and image.format in ('PNG', 'PPM'):  # 16 bits in the file
                pixels = pixels.astype(np.uint16)
        else:
            pixels = np.array(image.convert('RGB'))
        turn = _turn_of(image)  # 1 from now on, where Pillow has turned the pixels itself (TIFF)
    if mode == '1':
        return Picture(pixels.astype(np.uint8), mode, 1, orientation=turn)
    if mode == 'L' and bits in (2, 4):  # Pillow stretches them to 8
        return Picture(pixels // (255 // (2**bits - 1)), mode, bits, orientation=turn)
    return Picture(_native(pixels), mode, 0, alpha, palette, turn)


def _opencv(path: Path, orientation: int = 1, grey: bool = False) -> Picture:
    pixels = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None:
        raise ValueError('no picture that OpenCV can decode')
    return _split(pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[-1]]], orientation, grey)


def _split(pixels: np.ndarray, orientation: int, grey: bool = False, bits: int = 0) -> Picture:
    """Numbers (H, W) or (H, W, C) with alpha in a second or fourth channel; ``grey`` if the colours repeat one plane."""
    alpha, shape = None, pixels.shape
    if pixels.ndim == 3 and shape[-1] in (2, 4):
        pixels, alpha = pixels[..., :-1], pixels[..., -1]
    if pixels.ndim == 3 and (grey or pixels.shape[-1] == 1):
        pixels = pixels[..., 0]
    form = f'{pixels.dtype} with {shape[-1]} channels' if len(shape) == 3 else str(pixels.dtype)
    return Picture(np.ascontiguousarray(pixels), form, bits, alpha, orientation=orientation)


def _tiff(path: Path) -> Picture:
    import tifffile

    with open_file(path) as content, tifffile.TiffFile(content, name=path.name) as file:
        page = file.pages.first
        check_size(path, (page.imagelength, page.imagewidth))
        turn = page.tags.valueof(_ORIENTATION, default=1)
        bits = page.bitspersample if isinstance(page.bitspersample, int) else 0
        if page.photometric not in (0, 1, 2, 3):  # CMYK, YCbCr, Lab: colours that Pillow converts
            return _pillow(path)
        try:
            pixels = page.asarray()
        except (ValueError, NotImplementedError) as error:  # a form for which tifffile wants imagecodecs
            if 'imagecodecs' not in str(error):
                raise
            return _pillow(path, bits) if bits <= 8 else _opencv(path, turn)
        if page.axes == 'SYX':
            pixels = pixels.transpose(1, 2, 0)
        if page.axes not in ('YX', 'YXS', 'SYX'):
            raise ValueError(f'a picture with the axes {page.axes}')
        if pixels.dtype == bool:
            pixels = pixels.astype(np.uint8)
        if page.photometric == 0 and pixels.dtype.kind == 'u':  # white is 0
            pixels = pixels.dtype.type(2**bits - 1) - pixels
        known = bits if pixels.dtype.kind == 'u' and bits < 8 * pixels.dtype.itemsize else 0
        picture = _split(_native(pixels), turn if turn in range(1, 9) else 1, bits=known)
        if page.photometric == 3:
            deep = page.colormap.max() > 255  # some programs write colours of 8 bits
            picture.palette, picture.mode = (page.colormap >> 8 * deep).astype(np.uint8).T, 'P'
        if len(file.pages) > 1 and file.pages[1].shape == page.shape:
            picture.frames = len(file.pages)
        return picture


def _native(array: np.ndarray) -> np.ndarray:
    """The array in the byte order of this machine."""
    return array.astype(array.dtype.newbyteorder('='), copy=False)


def turn_upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """An array (H, W, ...) as its EXIF orientation (1 to 8) wants it shown."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    if orientation in (2, 3, 6, 7):
        array = array[:, ::-1]
    return np.ascontiguousarray(array)


def exif_orientation(path: str | Path) -> int:
    """EXIF orientation of a file, 1 for upright, and for what is no picture."""
    try:
        return _orientation(Path(path))
    except (OSError, ValueError):
        return 1


def has_palette(path: str | Path) -> bool:
    """Whether a file is a picture of ids with a palette, by its header; False of what is no picture."""
    try:
        with _open(Path(path)) as image:
            return image.mode in ('P', 'PA')
    except (OSError, ValueError):
        return False


def image_size(path: str | Path) -> tuple[int, int]:
    """(height, width) of a photograph as stored, from its header; (0, 1) of what is no picture."""
    try:
        with _open(Path(path)) as image:
            return image.size[1], image.size[0]
    except (OSError, ValueError):
        return 0, 1


def read_image(path: str | Path, upright: bool = True, white: float | None = None) -> np.ndarray:
    """A photograph as uint8 RGB (H, W, 3); grey, palette, CMYK and alpha are converted.

    Args:
        path: File.
        upright: Turn it as its EXIF orientation says.
        white: The stored number that is white in a file of more than 8 bits; default: the largest of its type, 1 for
            floats. Numbers beyond it are white, and NaN is black.

    Raises:
        FileError: No picture, or floats beyond 1 (integers below 0) without a ``white`` that says what they mean.
    """
    picture = decode(path, 'an image')
    if picture.frames > 1:
        warnings.warn(f'{path}: holds {picture.frames} pages: the first one is the photograph', stacklevel=2)
    pixels = picture.colours()
    stated = white is not None and pixels.dtype != np.uint8
    top = float(white) if white is not None and stated else picture.white
    if picture.palette is None and (pixels.dtype != np.uint8 or top != 255):
        pixels = _to_bytes(path, pixels, top, stated)
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[..., None], 3, -1)
    if pixels.shape[-1] != 3:
        raise FileError(f'{path}: expected a photograph of 1, 3 or 4 channels, found {picture.mode}')
    return turn_upright(pixels, picture.orientation) if upright else np.ascontiguousarray(pixels)


def _to_bytes(path: str | Path, pixels: np.ndarray, white: float, stated: bool) -> np.ndarray:
    """Numbers from 0 to ``white`` as uint8."""
    values = pixels.astype(np.float32 if pixels.dtype.itemsize < 4 else np.float64)
    if pixels.dtype.kind == 'f':
        values = np.nan_to_num(values, nan=0.0)
    if not stated and values.size and (values.min() < 0 or (pixels.dtype.kind == 'f' and values.max() > 1.001)):
        raise FileError(
            f'{path}: expected a photograph in [0, {white:g}], found numbers from {values.min():g} to '
            f'{values.max():g}: say which one is white (white_point of FolderDataset and Inferencer, --white-point of '
            f'infer.py), or convert the file to 8 or 16 bits'
        )
    warn_if_dark(float(values.max()) if values.size else 0.0, white)
    return np.rint((values * (255 / white)).clip(0, 255)).astype(np.uint8)


def warn_if_dark(largest: float, white: float) -> None:
    """Warn of a photograph that is all but black, because its numbers have fewer bits than their type."""
    if 0 < largest < white / 16:
        guess = next((2**bits - 1 for bits in range(8, 32) if 2**bits > largest), 0) if white > 1 else f'{largest:.3g}'
        warnings.warn(
            f'a photograph of numbers from 0 to {white:.10g} holds none above {largest:g} and is read as nearly black: if '
            f'another number is white, say white_point={guess}',
            stacklevel=3,
        )


def read_map(path: str | Path, grey: bool = False, dtype: type | None = None) -> np.ndarray:
    """A one-channel picture as stored, (H, W): class ids of a palette or grey image, 16-bit depths, ...

    Args:
        path: File.
        dtype: The type that the numbers must have, where their unit depends on it; default: any.
        grey: Turn whatever it is into grey levels, uint8, instead of refusing colours; for masks whose class ids are
            not at stake.
    """
    if grey:
        picture = decode(path, 'an image')
        if (
            picture.palette is None
            and picture.pixels.ndim == 2
            and picture.pixels.dtype == np.uint8
            and not picture.bits
        ):
            return picture.pixels
        return np.array(Image.fromarray(read_image(path, upright=False)).convert('L'))
    picture = decode(path, 'a one-channel picture')
    if picture.pixels.ndim != 2 or picture.alpha is not None:
        raise FileError(f'{path}: expected a one-channel picture (grey or palette), found mode {picture.mode}')
    if dtype is not None and picture.pixels.dtype != dtype:
        raise FileError(f'{path}: expected a picture of {np.dtype(dtype)}, found {picture.pixels.dtype}')
    return picture.pixels


def read_picture(path: str | Path, dtype: type = np.uint8) -> np.ndarray:
    """A three-channel picture that holds numbers (normals, colours): (H, W, 3) of ``dtype``, RGB; alpha is dropped."""
    bits = 8 * np.dtype(dtype).itemsize
    picture = decode(path, f'a picture of three {bits}-bit channels')
    if picture.palette is not None or picture.pixels.ndim != 3 or picture.pixels.shape[-1] != 3:
        raise FileError(f'{path}: expected a three-channel picture, found mode {picture.mode}')
    if picture.pixels.dtype != dtype:
        raise FileError(
            f'{path}: expected three {bits}-bit channels, found {picture.pixels.dtype} of shape {picture.pixels.shape}'
        )
    return picture.pixels
