"""The trained networks that lie in this package, small enough to be installed with it."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent / 'weights'
DEFAULT_MODEL = 'taskdiffusion/vitt_diorama'
"""What ``mmmtl infer PHOTO`` predicts with where nothing else is named."""


def list_shipped() -> list[str]:
    """Names of the shipped configs whose weights ship, too."""
    return sorted(path.parent.relative_to(FOLDER).as_posix() for path in FOLDER.glob('*/*/config.json'))


def shipped_folder(name: str) -> Path:
    """The folder of a network of :func:`list_shipped`."""
    return FOLDER / name
