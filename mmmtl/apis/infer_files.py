"""Predict every task on images, a video or a camera, and write what was predicted."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from mmmtl.datasets.io.inputs import ImageInput, gather_inputs, number_key
from mmmtl.datasets.io.video import CameraReader, VideoReader, camera_number, is_video
from mmmtl.errors import ConfigError, InputError
from mmmtl.visualization.video import VideoWriter

from .inferencer import Inferencer

FPS = 10.0
"""Frames per second of a video that is made of pictures."""


def infer_files(
    inferencer: Inferencer,
    inputs: Sequence[str],
    out_dir: str,
    video: bool | None = None,
    fps: float | None = None,
    frames: int | None = None,
    smooth: float = 0.0,
    **options: Any,
) -> str:
    """Predict on images, a video or a camera and write everything as it comes; returns a line that says what was written.

    Args:
        inferencer: The network.
        inputs: Images, folders, patterns; or one video file; or one camera (``camera:0`` is the first). Frames
            that are listed in the alphabet's order, as a shell
            lists them, are taken by the numbers in their names (9 before 10), others as given.
        out_dir: See :meth:`Inferencer.stream`, as for ``options``.
        video: Whether a video of the panels is written (:func:`infer_video`); default: of a video file,
            and of a folder where the model looks at two frames.
        fps: Its frames per second; default: those of the video file, and 10 for images and cameras.
        frames: Stop a video after so many frames; default: at its end, a camera's when it is interrupted.
        smooth: See :meth:`Inferencer.stream_video`.

    Raises:
        InputError: Some images could not be used; the others were predicted on before, and the message lists the failures.
        ConfigError: ``explain`` of a video.
    """
    explain = options.get('explain', False)
    if is_stream(inputs, inferencer.frames, False if explain and video is None else video):
        if explain:
            raise ConfigError('explain draws single images, not videos: give images, without --video')
        kept = {key: value for key, value in options.items() if key not in ('explain', 'batch_size', 'progress')}
        kept.update(fps=fps, frames=frames, smooth=smooth)
        return infer_video(inferencer, by_number(inputs), out_dir, video=video is not False, **kept)
    if smooth or frames is not None or fps is not None:
        raise ConfigError('smooth, frames and fps are for videos: give a video file, a camera, or --video')
    failures: list[str] = []
    images = files = 0
    inputs = by_number(inputs) if inferencer.frames == 2 else inputs
    for result in inferencer.stream(inputs, out_dir=out_dir, failures=failures, **options):
        images, files = images + 1, files + len(result.files)
    line = f'{images} images, {files} files in {out_dir}'
    if failures:
        print(line)
        raise InputError(f'{len(failures)} of {images + len(failures)} images failed:\n  ' + '\n  '.join(failures))
    return line


def is_stream(inputs: Sequence[str], frames: int, video: bool | None) -> bool:
    """Whether inputs are one video rather than images: a video file, a camera, or frames.

    Args:
        inputs: Paths.
        frames: Frames that the model looks at.
        video: Whether a video was asked for; None: a single folder is one where the model looks at two frames.
    """
    if any(is_video(given) or camera_number(given) is not None for given in inputs):
        if len(inputs) > 1:
            raise InputError(f'one video at a time, got {len(inputs)} inputs: {", ".join(map(str, inputs))}')
        return True
    return frames == 2 and len(inputs) == 1 and osp.isdir(inputs[0]) if video is None else video


def infer_video(
    inferencer: Inferencer,
    inputs: Sequence[str],
    out_dir: str,
    *,
    panels: bool = True,
    raw: bool = True,
    video: bool = True,
    fps: float | None = None,
    frames: int | None = None,
    **options: Any,
) -> str:
    """Predict on every frame of a video and write everything as it comes; returns a line that says what was written.

    Args:
        inferencer: The network.
        inputs: One video file or camera, or images, folders and patterns that give its frames.
        out_dir: ``panels/FRAME.png``, ``predictions/TASK/FRAME.png|npy`` and ``NAME.mp4``, a video of the panels.
        panels, raw, video: What is written.
        fps: Frames per second; default: those of the video file, and 10 for images and cameras.
        frames: Stop after so many frames. A camera can also be stopped by Ctrl-C; the video is whole then.
        options: Of :meth:`Inferencer.stream_video`.

    Raises:
        InputError, FileError: No frames, or one that cannot be read.
        StorageError: The video cannot be written.
    """
    number = camera_number(inputs[0])
    reader: Any = VideoReader(inputs[0]) if is_video(inputs[0]) else None if number is None else CameraReader(number)
    items = None if reader else gather_inputs(list(inputs))
    name = Path(inputs[0]).resolve().name if items and osp.isdir(inputs[0]) else 'video'
    name = name if reader is None else Path(inputs[0]).stem if number is None else f'camera_{number}'
    total = (reader.announced or None) if reader else len(items or ())
    total = frames if total is None else min(total, frames or total)
    files, count = 0, 0

    def given() -> Iterator[tuple[ImageInput, np.ndarray]]:
        for index, image in enumerate(reader or ()):
            yield ImageInput(f'{name}_{index:06d}', (image,)), image
        for item in items or ():
            yield item, item.load(inferencer.white_point)[0]

    path = osp.join(out_dir, f'{name}.mp4')
    fps = ((reader and reader.fps) or FPS) if fps is None else fps
    with VideoWriter(path, fps) as writer:
        stream = inferencer.stream_video(
            islice(given(), frames), out_dir=out_dir, panels=panels, draw=panels or video, raw=raw, **options
        )
        try:
            for result in tqdm(stream, 'predicting', total, unit='frame', delay=5):
                count, files = count + 1, files + len(result.files)
                if video:
                    writer.add(result.panel)
        except KeyboardInterrupt:
            if number is None:
                raise
    return f'{count} frames, {files} files in {out_dir}' + (f', video: {path}' if video else '')


def by_number(inputs: Sequence[str]) -> list[str]:
    """Paths by the numbers in their names where they stand in the alphabet's order, else as given."""
    ordered = sorted(inputs, key=str)
    return sorted(inputs, key=number_key) if list(inputs) == ordered else list(inputs)
