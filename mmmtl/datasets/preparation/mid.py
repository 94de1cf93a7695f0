"""MID Intrinsics: OpenEXR pictures → photographs, albedo and shading."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from mmmtl.datasets.io.exr import read_exr
from mmmtl.errors import FileError
from mmmtl.utils.files import write_atomically, write_png

from .jobs import Job, convert
from .tone import to_bytes, tone_map, tone_scale


def _light(outputs: dict[str, Path], radiance: str, albedo: str) -> None:
    light, reflectance = read_exr(radiance), read_exr(albedo)
    if light.shape != reflectance.shape:
        name = Path(radiance).name
        raise FileError(f'{albedo}: expected the size of {name}, {light.shape}, found {reflectance.shape}')
    scale = tone_scale(light)
    with np.errstate(divide='ignore', invalid='ignore'):
        shading = (scale * light).clip(0, 1) / reflectance
    _save(outputs['albedo'], to_bytes(reflectance))
    _save(outputs['shading'], to_bytes(shading))
    _save(outputs['rgb'], to_bytes(tone_map(light, scale)))


def _save(path: Path, picture: np.ndarray) -> None:
    if path.suffix == '.png':
        write_png(path, picture)
        return
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, 'JPEG')  # quality 75, as in the published preparation
    write_atomically(path, buffer.getvalue())


def prepare_mid(
    source: str | Path,
    target: str | Path,
    split: str = 'test',
    jpeg: bool = False,
    workers: int = 0,
    progress: bool = True,
) -> tuple[int, int]:
    """``source/SPLIT/SCENE/{dir_K_mip2,albedo}.exr`` → ``target/SPLIT/SCENE_dir_K_mip2[_albedo,_shading].png``.

    The photograph is tone-mapped so that the 90th percentile of its luminance becomes 0.8, gamma 2.2; the shading is
    the radiance, scaled likewise but without gamma and clipped, divided by the albedo, in [0, 1].

    Args:
        source: Folder of the splits.
        target: Output folder.
        split: Folder under ``source``.
        jpeg: Write JPEG pictures of quality 75, as the published preparation does, rather than PNG.
        workers: Processes.
        progress: Show a progress bar.

    Returns:
        Photographs made now and before.

    Raises:
        FileError: Nothing found, or files that are missing or damaged.
    """
    suffix, jobs = 'jpg' if jpeg else 'png', []
    for path in sorted(Path(source, split).glob('*/*mip2.exr')):
        stem = f'{path.parent.name}_{path.name.split(".")[0]}'
        outputs = {
            kind: Path(target, split, f'{stem}{tail}.{suffix}')
            for kind, tail in (('rgb', ''), ('albedo', '_albedo'), ('shading', '_shading'))
        }
        jobs.append(Job(stem, outputs, dict(radiance=str(path), albedo=str(path.parent / 'albedo.exr'))))
    return convert(_light, jobs, workers, progress, f'MID {split}')
