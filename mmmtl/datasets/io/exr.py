"""OpenEXR pictures, by the package ``OpenEXR``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmmtl.errors import FileError

from .guard import check_size, reading
from .storage import local_file


def read_exr(path: str | Path, channels: Sequence[str] | None = ('R', 'G', 'B')) -> np.ndarray:
    """Channels of an OpenEXR picture: float32 (H, W, C).

    Args:
        path: File.
        channels: Names of the channels; None for what a map is usually stored as: R, G, B, else the only channel.

    Raises:
        FileError: No such file, not a picture of this form, too large, or a missing channel.
    """
    with reading(path, 'an OpenEXR picture'), local_file(path) as place:
        open(place, 'rb').close()
        try:
            import OpenEXR
        except ImportError as error:
            raise FileError(f'{path}: reading OpenEXR needs a package: pip install OpenEXR') from error
        with OpenEXR.File(place, header_only=True) as file:
            header = file.header()
            low, high = header['dataWindow']
            check_size(path, [int(h) - int(lo) + 1 for lo, h in zip(low, high)][::-1])
            names = [channel.name for channel in header['channels']]
        wanted = tuple(channels or (('R', 'G', 'B') if {'R', 'G', 'B'} <= set(names) else names))
        missing = [name for name in wanted if name not in names]
        if missing or (channels is None and len(wanted) not in (1, 3)):
            expected = f'the channels {list(channels)}' if channels else 'R, G, B, or one channel'
            raise FileError(f'{path}: expected {expected}, found {names}' + (f' (missing: {missing})' * bool(missing)))
        with OpenEXR.File(place, separate_channels=True) as file:
            planes = [np.asarray(file.channels()[name].pixels, np.float32) for name in wanted]
        return np.stack(planes, -1)
