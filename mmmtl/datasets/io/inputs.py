"""What a person points at (a file, a folder, a pattern, a picture in memory) as a list of images with names."""

from __future__ import annotations

import glob
import os.path as osp
import re
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from mmmtl.errors import InputError, suggest

from .folders import IMAGE_SUFFIXES, OTHER_PICTURES, walk
from .memory import to_rgb
from .pictures import read_image

Source: TypeAlias = str | Path | np.ndarray | Tensor | Image.Image


@dataclass
class ImageInput:
    """An image, or the two frames of a pair, to predict on.

    Attributes:
        sample_id: Name of the prediction; the noise of a diffusion decoder is seeded by it.
        frames: Paths or pictures in memory, one or two.
    """

    sample_id: str
    frames: tuple[Source, ...]

    @property
    def path(self) -> str:
        """Path of the first frame, or '' for a picture in memory."""
        return str(self.frames[0]) if isinstance(self.frames[0], (str, Path)) else ''

    def load(self, white_point: float | None = None) -> list[np.ndarray]:
        """The frames as uint8 RGB (H, W, 3).

        Args:
            white_point: The number that is white in pictures of more than 8 bits; default: the largest of their type.

        Raises:
            FileError: A file that is missing or no image.
            InputError: An array that is no image, or frames of different sizes.
        """
        images = [
            read_image(f, white=white_point) if isinstance(f, (str, Path)) else to_rgb(f, self.sample_id, white_point)
            for f in self.frames
        ]
        if len({i.shape for i in images}) > 1:
            raise InputError(
                f"'{self.sample_id}': the two frames differ in size: {[i.shape[:2] for i in images]}: give the frames of one "
                'video, or single photographs one at a time'
            )
        return images


def gather_inputs(inputs: Any, frames: int = 1, lone: bool = False) -> list[ImageInput]:
    """Find images.

    Args:
        inputs: Path of an image, a folder (searched through, by the numbers in the names), a pattern with ``*``, a
            picture in memory (see :func:`~mmmtl.datasets.io.memory.to_rgb`), or a list of these. A list of
            :class:`ImageInput` is given back.
        frames: 2 for a model that needs pairs: each image with the next one, in the order given or by name; of what is
            found in folders, within each of them.
        lone: Whether such a model takes an image without a next one, too, where only one is given.

    Returns:
        The images; ids are file names without suffix, with suffix or folders where these would be ambiguous.

    Raises:
        InputError: Nothing there; names the place and near names.
    """
    if isinstance(inputs, (list, tuple)) and inputs and all(isinstance(item, ImageInput) for item in inputs):
        return list(inputs)
    single = isinstance(inputs, (str, Path, np.ndarray, Tensor, Image.Image))
    if not single and (isinstance(inputs, (bytes, dict)) or not isinstance(inputs, Iterable)):
        raise InputError(f'expected a path, a picture or a list of these, found {type(inputs).__name__} {inputs!r:.60}')
    given = [inputs] if single else list(inputs)
    sources: list[Source] = [found for item in given for found in _expand(item)]
    if not sources:
        raise InputError('no images given')
    videos: dict[str, list[Source]] = {}
    folders = any(isinstance(one, (str, Path)) and osp.isdir(osp.expanduser(one)) for one in given)
    for source in sources if frames == 2 else ():
        videos.setdefault(osp.dirname(source) if folders and isinstance(source, str) else '', []).append(source)
    pairs = [pair for video in videos.values() for pair in zip(video, video[1:])]
    alone = [video[0] for video in videos.values() if len(video) == 1]
    if pairs and alone:
        warnings.warn(
            f'{len(alone)} images have no next one in their folder and are left out, for example {alone[0]}',
            stacklevel=2,
        )
    if pairs:
        return [ImageInput(n, pair) for n, pair in zip(_ids([first for first, _ in pairs]), pairs)]
    if frames == 2 and not lone:
        raise InputError(
            'the model needs two frames: give two images or a folder with several, or say '
            "model.second_frame='duplicate', and the image stands in for the second"
        )
    return [ImageInput(n, (s,)) for n, s in zip(_ids(sources), sources)]


def number_key(path: str) -> list[Any]:
    """Sorts paths by their text, and where they differ in a number by its value: frame 9 before frame 10."""
    return [int(text) if i % 2 else text for i, text in enumerate(re.split(r'([0-9]+)', str(path)))]


def _expand(item: Any) -> Iterator[Source]:
    """One thing a person gave → paths or pictures in memory; a batch of pictures is taken apart."""
    if isinstance(item, (np.ndarray, Tensor)) and item.ndim == 4:
        yield from item
        return
    if isinstance(item, (np.ndarray, Tensor, Image.Image)):
        yield item
        return
    if not isinstance(item, (str, Path)):
        raise InputError(f'expected a path, a picture or a list of these, found {type(item).__name__} {item!r:.60}')
    path = osp.expanduser(item)
    if osp.isdir(path):
        pictures = walk(path, (*IMAGE_SUFFIXES, *OTHER_PICTURES))
        found = sorted((str(p) for p in pictures if p.suffix.lower() in IMAGE_SUFFIXES), key=number_key)
        if not found:
            raise InputError(f"folder '{path}' has no images ({', '.join(IMAGE_SUFFIXES)})")
        others = [p for p in pictures if p.suffix.lower() in OTHER_PICTURES]
        if others:
            warnings.warn(
                f"folder '{path}': {len(others)} pictures are left out, for example {others[0].name}: images are "
                f'{", ".join(IMAGE_SUFFIXES)}',
                stacklevel=2,
            )
        yield from found
    elif osp.exists(path):
        yield path
    elif glob.has_magic(path):
        found = sorted((p for p in glob.glob(path, recursive=True) if osp.isfile(p)), key=number_key)
        if not found:
            raise InputError(f"no file matches '{path}'")
        yield from found
    else:
        folder = Path(path).parent
        near = suggest(Path(path).name, [p.name for p in folder.iterdir()]) if folder.is_dir() else ''
        raise InputError(f"image '{path}' does not exist.{near}")


def _ids(sources: Sequence[Source]) -> list[str]:
    """Different names: stems where these are, else paths below the common folder, with suffix if need be."""
    paths = [osp.abspath(s) if isinstance(s, (str, Path)) else f'array_{i:04d}' for i, s in enumerate(sources)]
    files = [p for p, s in zip(paths, sources) if isinstance(s, (str, Path))]
    top = osp.commonpath([osp.dirname(p) for p in files]) if files else ''
    below = [osp.relpath(p, top) if isinstance(s, (str, Path)) else p for p, s in zip(paths, sources)]
    stems = [Path(p).stem for p in below]
    shared = len({s.casefold() for s in stems}) < len(stems)
    short = [Path(p).with_suffix('').as_posix() for p in below] if shared else stems
    count = Counter(name.casefold() for name in short)
    names = [Path(p).as_posix() if count[name.casefold()] > 1 else name for p, name in zip(below, short)]
    taken: set[str] = set()
    for i, name in enumerate(names):
        number = 1
        while names[i].casefold() in taken:
            number += 1
            names[i] = f'{name}_{number}'
        taken.add(names[i].casefold())
    return names
