"""Lists of the images that a published protocol scores."""

from __future__ import annotations

from pathlib import Path

from mmmtl.errors import FileError


def read_image_list(path: str | Path) -> list[str]:
    """Image ids, one per line; blank lines and lines that start with # are skipped.

    Raises:
        FileNotFoundError: When there is no such file.
        FileError: When it names no image.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no list of images at {path}')
    lines = (line.strip() for line in path.read_text(encoding='utf-8').splitlines())
    ids = [line for line in lines if line and not line.startswith('#')]
    if not ids:
        raise FileError(f'the list of images {path} is empty')
    return ids
