"""The pictures of the documentation, drawn by the network that ships: scenes, photographs, the film of a denoising."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from torch import nn

from mmmtl.apis import Inferencer
from mmmtl.datasets import Diorama
from mmmtl.utils.files import write_atomically, write_png
from mmmtl.visualization import draw_panel

WIDTH = 900
"""Width of a picture in pixels; larger ones are reduced to it."""
QUALITY = 82
SCENE = (128, 160)
"""(H, W) of the scenes."""


def draw_pictures(model: nn.Module, folder: Path, photographs: Mapping[str, np.ndarray]) -> list[str]:
    """Draw every picture.

    Args:
        model: A network of Diorama's tasks.
        folder: Where to.
        photographs: ``{name: uint8 RGB (H, W, 3)}``.

    Returns:
        Paths of the pictures.
    """
    inferencer = Inferencer(model, device='cpu')
    written = [_write(folder / 'scenes.jpg', _stack([_scene(inferencer, index) for index in (3, 11)]))]
    for name, image in photographs.items():
        pred = inferencer([image], panels=False, progress=False)[0].pred
        size = f'{image.shape[0]} × {image.shape[1]}'
        written.append(
            _write(folder / f'{name}.jpg', draw_panel(image, inferencer.tasks, None, pred, title=name, subtitle=size))
        )
    film = _film(inferencer, folder)
    return written + ([film] if film else [])


def _scene(inferencer: Inferencer, index: int) -> np.ndarray:
    """A held-out scene with its labels above what is predicted."""
    sample = Diorama(tasks=inferencer.tasks, length=16, size=SCENE, scene_seed=1, test_mode=True).load_sample(index)
    result = inferencer([sample['img']], panels=False, progress=False)[0]
    return draw_panel(sample['img'], inferencer.tasks, sample['gt'], result.pred, title='', subtitle='')


def _film(inferencer: Inferencer, folder: Path) -> str | None:
    """What a diffusion decoder shows of its steps, as one picture; None for a decoder that has none."""
    sample = Diorama(tasks=inferencer.tasks, length=16, size=SCENE, scene_seed=1, test_mode=True).load_sample(3)
    with tempfile.TemporaryDirectory() as place:
        photograph = write_png(f'{place}/a generated scene.png', sample['img'])
        files = inferencer([photograph], out_dir=place, raw=False, explain=True, progress=False)[0].files
        strips = [file for file in files if len(Path(file).name.split('.')) > 2]
        picture = cv2.imread(strips[0]) if strips else None
    return None if picture is None else _write(folder / 'denoising.jpg', picture[..., ::-1])


def _stack(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of one width below each other."""
    width = min(picture.shape[1] for picture in pictures)
    return np.concatenate([picture[:, :width] for picture in pictures])


def _write(path: Path, picture: np.ndarray) -> str:
    """Write a picture as JPEG, reduced to :data:`WIDTH`."""
    if picture.shape[1] > WIDTH:
        height = round(picture.shape[0] * WIDTH / picture.shape[1])
        picture = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    options: list[Any] = [cv2.IMWRITE_JPEG_QUALITY, QUALITY]
    done, data = cv2.imencode('.jpg', np.ascontiguousarray(picture[..., ::-1]), options)
    assert done
    return write_atomically(path, data.tobytes())
