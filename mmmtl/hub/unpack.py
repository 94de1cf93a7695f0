"""Archives from elsewhere: nothing in them leads out of the folder they are unpacked to."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from tqdm import tqdm

from mmmtl.errors import FileError

from .transfer import check_room

ARCHIVES = ('.zip', '.tar', '.tar.gz', '.tgz', '.tar.bz2', '.tar.xz')


def is_archive(name: str) -> bool:
    """Whether a file's name is that of an archive."""
    return name.lower().endswith(ARCHIVES)


def unpack(archive: Path, folder: Path, within: str = '', progress: bool = True) -> int:
    """Unpack the regular files of an archive.

    Args:
        archive: A file of :data:`ARCHIVES`.
        folder: Where to.
        within: Folder in the archive whose content alone is taken, without that folder; a ``*`` in it stands for one of
            any name; '' for everything.
        progress: Show a bar.

    Returns:
        Number of files.

    Raises:
        FileError: A damaged archive, a name that leads out of the folder, a link that does, or nothing in ``within``.
        StorageError: The disk has not enough room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if archive.name.lower().endswith('.zip'):
            count = _unzip(archive, folder, within, progress)
        else:
            count = _untar(archive, folder, within, progress)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError, NotImplementedError) as error:
        raise FileError(f'{archive}: expected an archive, found a damaged one ({error}): fetch it again') from error
    except (RuntimeError, OSError, ValueError) as error:
        if isinstance(error, FileError) or getattr(error, 'errno', None):
            raise
        raise FileError(f'{archive}: cannot be unpacked ({error})') from error
    if not count:
        raise FileError(f"{archive}: expected files in '{within or '.'}', found none")
    return count


def _place(archive: Path, name: str, folder: Path, within: str) -> Path | None:
    """Where a member goes; None for one outside of ``within``.

    Raises:
        FileError: Its name leads out of the folder.
    """
    plain = PurePosixPath(name.replace('\\', '/'))
    parts = [part for part in plain.parts if part != '.']
    if plain.is_absolute() or '..' in parts or '\0' in name or (parts and ':' in parts[0]):
        raise FileError(f'{archive}: its member {name!r} leads out of the folder: nothing more of it is unpacked')
    for wanted in PurePosixPath(within).parts:
        if not parts or (wanted != '*' and parts[0] != wanted):
            return None
        parts = parts[1:]
    if not parts:
        return None
    place = folder.joinpath(*parts)
    if folder.resolve() not in place.parent.resolve().parents and place.parent.resolve() != folder.resolve():
        raise FileError(f'{archive}: its member {name!r} leads through a link out of the folder')
    return place


def _unzip(archive: Path, folder: Path, within: str, progress: bool) -> int:
    with zipfile.ZipFile(archive) as opened:
        members = [(info, _place(archive, info.filename, folder, within)) for info in opened.infolist()]
        wanted = [(info, place) for info, place in members if place is not None and not info.is_dir()]
        check_room(folder, sum(info.file_size for info, _ in wanted), archive.name)
        for info, place in tqdm(wanted, desc=f'unpacking {archive.name}', unit='file', disable=not progress, delay=2):
            with opened.open(info) as source:
                _write(source, place)
    return len(wanted)


def _untar(archive: Path, folder: Path, within: str, progress: bool) -> int:
    count = 0
    with tarfile.open(archive) as opened:
        for info in tqdm(
            _members(opened), desc=f'unpacking {archive.name}', unit='file', disable=not progress, delay=2
        ):
            place = _place(archive, info.name, folder, within)
            if info.issym() or info.islnk() or not (info.isfile() or info.isdir()):
                raise FileError(f'{archive}: its member {info.name!r} is a link or a device, which no data set needs')
            if place is None or info.isdir():
                continue
            check_room(folder, info.size, archive.name)
            source = opened.extractfile(info)
            if source is not None:
                with source:
                    _write(source, place)
                count += 1
    return count


def _members(opened: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Members one by one: a compressed archive is not read twice."""
    while (info := opened.next()) is not None:
        yield info


def _write(source: IO[bytes], place: Path) -> None:
    """Write a member beside its place and rename it."""
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f'.{place.name[:80]}.part')
    with open(partial, 'wb') as file:
        shutil.copyfileobj(source, file, 1 << 20)
    partial.replace(place)
