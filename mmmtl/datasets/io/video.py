"""Video files and cameras, frame by frame, as OpenCV gives them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from mmengine.logging import print_log

from mmmtl.errors import FileError, InputError, NotFoundError

from .guard import check_size

VIDEO_SUFFIXES = ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg')


def is_video(path: object) -> bool:
    """Whether a path's ending is that of a video file."""
    return isinstance(path, (str, Path)) and Path(path).suffix.lower() in VIDEO_SUFFIXES and not Path(path).is_dir()


def camera_number(source: object) -> int | None:
    """The number of a camera, which is given as ``camera:0`` or as a whole number; None of anything else."""
    if isinstance(source, int) and not isinstance(source, bool):
        return source
    found = re.fullmatch(r'camera:([0-9]+)', source) if isinstance(source, str) else None
    return int(found.group(1)) if found else None


class CameraReader:
    """A camera of this machine; iterating gives its frames, uint8 RGB (H, W, 3), until nobody wants more.

    The camera is open while it is iterated over; frames that come while the last one is worked on are its driver's to keep
    or drop.

    Args:
        number: The system's number of the camera, from 0.

    Raises:
        InputError: When iterated: no such camera, or one that stops.
    """

    fps = 0.0
    announced = 0

    def __init__(self, number: int) -> None:
        self.number = number

    def __iter__(self) -> Iterator[np.ndarray]:
        capture = cv2.VideoCapture(self.number)
        try:
            if not capture.isOpened():
                raise InputError(
                    f'camera:{self.number}: there is no such camera, or another program has it: the first is camera:0'
                )
            while True:
                there, frame = capture.read()
                if not there:
                    raise InputError(f'camera:{self.number}: the camera gives no more frames: is it still plugged in?')
                yield np.ascontiguousarray(frame[..., ::-1])
        finally:
            capture.release()


class VideoReader:
    """A video file; iterating gives its frames, uint8 RGB (H, W, 3), upright.

    Attributes:
        path: The file.
        fps: Frames per second, as the file says; 0 where it does not.
        announced: Number of frames, as the file says; 0 where it does not.

    Raises:
        FileError: No such file, or none that can be decoded; one whose frames are larger than what is read.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        if not Path(path).is_file():
            raise NotFoundError(f'{path}: expected a video, found no such file')
        capture = cv2.VideoCapture(self.path)
        self.fps = max(capture.get(cv2.CAP_PROP_FPS), 0.0)
        self.announced = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)
        size = [int(capture.get(name)) for name in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
        opened = capture.isOpened()
        capture.release()
        if not opened:
            raise FileError(
                f'{path}: expected a video, found a file that OpenCV cannot decode ({Path(path).stat().st_size} bytes): '
                f'extract its frames into a folder and give that'
            )
        check_size(path, size)

    def __iter__(self) -> Iterator[np.ndarray]:
        capture, count = cv2.VideoCapture(self.path), 0
        try:
            while True:
                there, frame = capture.read()
                if not there:
                    break
                count += 1
                yield np.ascontiguousarray(frame[..., ::-1])
        finally:
            capture.release()
        if not count:
            raise FileError(f'{self.path}: expected a video, found no frame that can be decoded')
        if count < self.announced:
            lost = f'{self.path}: {count} frames could be decoded of the {self.announced} that the file announces'
            print_log(lost, logger='current', level=logging.WARNING)
