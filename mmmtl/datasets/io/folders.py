"""Walking folders and reading lists: which files count, and what their samples are called."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from mmmtl.errors import FileError, NotFoundError
from mmmtl.utils.files import read_text

from .addresses import address
from .storage import find_files, is_dir, is_file, is_local, read_bytes

IMAGE_SUFFIXES = tuple('.jpg .jpeg .png .bmp .gif .webp .avif .tif .tiff .heic .heif .jfif .ppm .pgm'.split())
OTHER_PICTURES = tuple(
    '.jp2 .jpe .jxl .psd .tga .ico .pbm .svg .dng .cr2 .cr3 .nef .arw .raf .orf .rw2 .exr .hdr'.split()
)
"""Endings of pictures that are no photographs for this package, so that one can be told that they are left out."""
_LITTER = {'thumbs.db', 'desktop.ini', '__macosx', '@eadir', '$recycle.bin', 'lost+found'}
_HEADINGS = set('id name image img file filename path image_id sample_id file_name image_path'.split())


def walk(root: str | Path, suffixes: Sequence[str] | None = None) -> list[Path]:
    """Files below a folder, sorted; links count, those that lead nowhere too (reading them names them); hidden files and
    what systems leave behind do not.

    Args:
        root: The folder; one that does not exist has no files.
        suffixes: Endings in lower case, with their dots; default: any.
    """
    found = _walk(Path(root), set()) if is_local(root) else _walk_remote(Path(root))
    return sorted(p for p in found if suffixes is None or p.suffix.lower() in suffixes)


def _walk_remote(folder: Path) -> Iterator[Path]:
    for path in find_files(folder) if is_dir(folder) else ():
        if not any(part.startswith('.') or part.lower() in _LITTER for part in path.split('/')):
            yield folder / path


def sub_folders(folder: str | Path) -> list[str]:
    """Names of the folders in a local folder, sorted, for messages; none of one that cannot be listed."""
    return sorted(p.name for p in Path(folder).iterdir() if p.is_dir()) if Path(folder).is_dir() else []


def _walk(folder: Path, above: set[tuple[int, int]]) -> Iterator[Path]:
    """``above`` holds the folders this one lies in: a link to one of them would go round in circles."""
    if not folder.is_dir():
        return
    state = folder.stat()
    if (state.st_dev, state.st_ino) in above:
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.') or entry.name.lower() in _LITTER:
                continue
            if entry.is_dir():
                yield from _walk(folder / entry.name, above | {(state.st_dev, state.st_ino)})
            elif entry.is_file() or entry.is_symlink():
                yield folder / entry.name


def plain_name(text: str) -> str:
    """A name in the one Unicode form that names are compared in (NFC: macOS writes letters and accents apart)."""
    return unicodedata.normalize('NFC', text)


def index_files(folder: str | Path, suffixes: Sequence[str]) -> dict[str, Path]:
    """``{id: file}`` of a folder; the id is the path below it without suffix.

    Raises:
        FileError: Two files have one id.
    """
    return index_paths(folder, walk(folder, suffixes))


def index_paths(folder: str | Path, paths: Iterable[Path]) -> dict[str, Path]:
    """:func:`index_files` of files that :func:`walk` has found in the folder already."""
    found: dict[str, Path] = {}
    for path in paths:
        sample_id = plain_name(path.relative_to(folder).with_suffix('').as_posix())
        if sample_id in found:
            raise FileError(f"two files for '{sample_id}': {found[sample_id]} and {path}: remove one of them")
        found[sample_id] = path
    return found


def read_id_list(path: str | Path) -> list[str]:
    """Sample ids of a split file: one a line; blank lines and trailing carriage returns are dropped.

    Of a ``.csv`` the first column counts, and a first row that is called as a column of names is dropped.

    Raises:
        NotFoundError: No such file; lists the split files beside it.
        FileError: An empty file or an id that occurs twice.
    """
    path = Path(path)
    if not is_file(path):
        beside = (
            sorted(p.name for p in path.parent.iterdir() if p.suffix.lower() in ('.txt', '.csv', '.lst'))
            if path.parent.is_dir()
            else 'no such folder'
        )
        raise NotFoundError(f'split file {address(path)}: no such file (beside it: {beside})')
    lines = _text(path).splitlines()
    if path.suffix.lower() == '.csv':
        lines = [row[0] for row in csv.reader(lines) if row]
        lines = lines[1:] if lines and lines[0].strip().lower() in _HEADINGS else lines
    ids = [plain_name(line.strip()) for line in lines if line.strip()]
    if not ids:
        raise FileError(f'split file {path}: no sample ids in it')
    seen: set[str] = set()
    for i in ids:
        if i in seen:
            raise FileError(f"split file {path}: sample id '{i}' is listed twice")
        seen.add(i)
    return ids


def _text(path: Path) -> str:
    if is_local(path):
        return read_text(path, 'a list of sample ids')
    try:
        return read_bytes(path).decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise FileError(
            f'{address(path)}: expected a list of sample ids, found bytes that are not UTF-8: {error}'
        ) from error
