"""What a person points at (a file, a folder, a pattern, an array) as a list of images with names."""

from __future__ import annotations

import glob
import os.path as osp
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

import numpy as np
from PIL import Image, ImageOps

from mmmtl.datasets.io.pictures import read_image
from mmmtl.errors import InputError, suggest

SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')

Source = Union[str, Path, np.ndarray]


@dataclass
class ImageInput:
    """An image, or the two frames of a pair, to predict on.

    Attributes:
        sample_id: Name of the prediction; the noise of a diffusion decoder is seeded by it.
        frames: Paths or uint8 RGB arrays (H, W, 3), one or two.
    """

    sample_id: str
    frames: tuple[Source, ...]

    @property
    def path(self) -> str:
        """Path of the first frame, or '' for an array."""
        return '' if isinstance(self.frames[0], np.ndarray) else str(self.frames[0])

    def load(self) -> list[np.ndarray]:
        """The frames as uint8 RGB (H, W, 3).

        Raises:
            FileError: A file that is missing or no image.
            InputError: An array that is no image, or frames of different sizes.
        """
        images = [check_array(f, self.sample_id) if isinstance(f, np.ndarray) else read_upright(f) for f in self.frames]
        if len({i.shape for i in images}) > 1:
            raise InputError(f"'{self.sample_id}': the two frames differ in size: {[i.shape[:2] for i in images]}")
        return images


def read_upright(path: str | Path) -> np.ndarray:
    """A photograph as uint8 RGB (H, W, 3), turned as its EXIF orientation says.

    (Data sets leave it as stored, since labels are drawn on the stored pixels.)
    """
    image = read_image(path)
    with Image.open(path) as file:
        if file.getexif().get(0x0112, 1) != 1:
            image = np.array(ImageOps.exif_transpose(file).convert('RGB'))
    return image


def check_array(array: np.ndarray, name: str) -> np.ndarray:
    """``array`` if it is uint8 (H, W, 3); greyscale (H, W) is repeated."""
    if array.dtype == np.uint8 and array.ndim == 2:
        array = np.repeat(array[..., None], 3, -1)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3 or 0 in array.shape:
        raise InputError(f"'{name}': expected an image, uint8 RGB (H, W, 3), found {array.dtype} {array.shape}")
    return array


def gather_inputs(inputs: Source | Sequence[Source], frames: int = 1) -> list[ImageInput]:
    """Find images.

    Args:
        inputs: Path of an image, a folder (searched through), a pattern with ``*``, an array, or a list of
            these.
        frames: 2 for a model that needs pairs: each image with the next one, in the order given or by name.

    Returns:
        The images; ids are file names without suffix, with folders where names would be ambiguous.

    Raises:
        InputError: Nothing there; names the place and near names.
    """
    items = [inputs] if isinstance(inputs, (str, Path, np.ndarray)) else list(inputs)
    sources: list[Source] = [found for item in items for found in _expand(item)]
    if not sources:
        raise InputError('no images given')
    if frames == 2:
        if len(sources) < 2:
            raise InputError('the model needs two frames: give two images, or a folder with several')
        names = _ids(sources[:-1])
        return [ImageInput(n, pair) for n, pair in zip(names, zip(sources[:-1], sources[1:]))]
    return [ImageInput(n, (s,)) for n, s in zip(_ids(sources), sources)]


def _expand(item: Any) -> Iterator[Source]:
    """One thing a person gave → paths or arrays."""
    if isinstance(item, np.ndarray):
        yield item
        return
    path = str(item)
    if osp.isdir(path):
        found = sorted(str(p) for p in Path(path).rglob('*') if p.suffix.lower() in SUFFIXES)
        if not found:
            raise InputError(f"folder '{path}' has no images ({', '.join(SUFFIXES)})")
        yield from found
    elif osp.exists(path):
        yield path
    elif glob.has_magic(path):
        found = sorted(p for p in glob.glob(path, recursive=True) if osp.isfile(p))
        if not found:
            raise InputError(f"no file matches '{path}'")
        yield from found
    else:
        folder = Path(path).parent
        near = suggest(Path(path).name, [p.name for p in folder.iterdir()]) if folder.is_dir() else ''
        raise InputError(f"image '{path}' does not exist.{near}")


def _ids(sources: Sequence[Source]) -> list[str]:
    """Names: stems, or paths below the common folder where stems occur twice; arrays are numbered."""
    stems = [f'array_{i:04d}' if isinstance(s, np.ndarray) else Path(s).stem for i, s in enumerate(sources)]
    if len(set(stems)) == len(stems):
        return stems
    paths = [osp.abspath(s) for s in sources if not isinstance(s, np.ndarray)]
    top = osp.commonpath([osp.dirname(p) for p in paths])
    names = [
        stem if isinstance(s, np.ndarray) else Path(osp.relpath(osp.abspath(s), top)).with_suffix('').as_posix()
        for s, stem in zip(sources, stems)
    ]
    seen: dict[str, int] = {}
    for i, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[i] = f'{name}_{seen[name]}'
    return names
