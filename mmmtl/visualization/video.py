"""A video file of pictures, written as they come."""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from mmmtl.errors import ConfigError, StorageError


class VideoWriter:
    """Writes ``.mp4`` (MPEG-4); a context manager, which leaves a whole file behind or none.

    Args:
        path: Destination; folders are made as needed.
        fps: Frames per second.
    """

    def __init__(self, path: str | Path, fps: float) -> None:
        if not 0 < fps <= 1000:
            raise ConfigError(f'fps must be above 0 and at most 1000, got {fps}')
        self.path, self.fps, self.count = Path(path), fps, 0
        self.partial = self.path.with_name(f'.{self.path.stem[:40]}.{secrets.token_hex(6)}.part.mp4')
        self.writer: Any = None
        self.size = (0, 0)

    def __enter__(self) -> VideoWriter:
        return self

    def add(self, picture: np.ndarray) -> None:
        """Append a picture, uint8 RGB (H, W, 3); the first decides the size, others are put on a sheet of that size.

        Raises:
            StorageError: This build of OpenCV writes no such video, or the place cannot be written to.
        """
        if self.writer is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            height, width = (n + n % 2 for n in picture.shape[:2])  # the codec wants even sides
            self.size = height, width
            code = cv2.VideoWriter.fourcc(*'mp4v')
            self.writer = cv2.VideoWriter(str(self.partial), code, self.fps, (width, height))
            if not self.writer.isOpened():
                raise StorageError(
                    f'cannot write the video {self.path}: this OpenCV has no MPEG-4 encoder, or the folder is not '
                    f'writable; --no-video writes pictures alone'
                )
        self.writer.write(np.ascontiguousarray(self._on_sheet(picture)[..., ::-1]))
        self.count += 1

    def _on_sheet(self, picture: np.ndarray) -> np.ndarray:
        """The picture, reduced where it is too large, at the top left of a white sheet of the video's size."""
        height, width = self.size
        shrink = min(height / picture.shape[0], width / picture.shape[1], 1.0)
        if shrink < 1:
            size = (max(round(picture.shape[1] * shrink), 1), max(round(picture.shape[0] * shrink), 1))
            picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
        sheet = np.full((height, width, 3), 255, np.uint8)
        sheet[: picture.shape[0], : picture.shape[1]] = picture
        return sheet

    def __exit__(self, kind: Any, *_: Any) -> None:
        if self.writer is not None:
            self.writer.release()
        try:
            if kind is None and self.count:
                self._check()
                os.replace(self.partial, self.path)
        finally:
            with contextlib.suppress(OSError):
                self.partial.unlink()

    def _check(self) -> None:
        """Raise :class:`StorageError` where the file holds fewer frames than were written: OpenCV does not tell."""
        capture = cv2.VideoCapture(str(self.partial))
        found = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        capture.release()
        if found != self.count:
            raise StorageError(
                f'cannot write the video {self.path}: {found} of {self.count} frames arrived; is the disk full?'
            )
