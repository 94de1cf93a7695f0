"""What every reader shares: failures that name the file, and sizes that are believed only up to a limit."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mmmtl.errors import FileError

from .storage import described, is_local, read_bytes

MAX_PIXELS = 178_956_970
"""Pixels of the largest picture or map that is read, unless the environment variable ``MMMTL_MAX_PIXELS`` says more."""


@contextmanager
def reading(path: str | Path, expected: str) -> Iterator[None]:
    """Turn every failure to read ``path`` into a :class:`FileError`: decoders raise whatever comes to their mind.

    Args:
        path: The file, for the message.
        expected: What it should hold, for the message.
    """
    try:
        yield
    except FileError:
        raise
    except FileNotFoundError as error:
        raise FileError(f'{described(path)}: expected {expected}, found no such file') from error
    except Exception as error:
        raise FileError(
            f'{described(path)}: expected {expected}, found a file that cannot be read ({_size(path)}; '
            f'{type(error).__name__}: {error})'
        ) from error


def _size(path: str | Path) -> str:
    if is_local(path):
        return f'{Path(path).stat().st_size} bytes' if Path(path).is_file() else 'no regular file'
    return f'{len(read_bytes(path))} bytes'


def max_pixels() -> int:
    """The limit in force.

    Raises:
        FileError: ``MMMTL_MAX_PIXELS`` is no positive whole number.
    """
    text = os.environ.get('MMMTL_MAX_PIXELS', str(MAX_PIXELS))
    if not text.isdigit() or not int(text):
        raise FileError(f'MMMTL_MAX_PIXELS={text!r}: expected a positive whole number of pixels')
    return int(text)


def check_size(path: str | Path, shape: Sequence[int], channels: int = 1) -> None:
    """Refuse a file whose header announces more than the limit, before anything of that size is allocated.

    Args:
        path: The file, for the message.
        shape: Announced size, (height, width, ...).
        channels: Numbers per pixel that are within the limit.
    """
    count, limit = math.prod(int(n) for n in shape), max_pixels()
    if min(shape, default=1) < 0 or count > limit * channels:
        size = 'x'.join(str(n) for n in shape)
        raise FileError(
            f'{path}: expected at most {limit / 1e6:.0f} megapixels, found a header that says {size} '
            f'({count / channels / 1e6:.0f}). If that is right, set MMMTL_MAX_PIXELS={-(-count // channels)} in the '
            f'environment, or make the file smaller'
        )
