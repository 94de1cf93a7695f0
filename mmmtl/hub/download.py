"""Data sets with public links: their licence told first, then fetched, checked and unpacked."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from mmmtl.errors import InputError, suggest
from mmmtl.utils.files import write_atomically

from .sources import SOURCES, RemoteFile, Source
from .transfer import DeadLinkError, fetch
from .unpack import is_archive, unpack


def download(
    name: str,
    folder: str | None = None,
    accept_licence: bool = False,
    ask: Callable[[str], str] | None = None,
    keep_archives: bool = False,
    only: str = '',
    progress: bool = True,
) -> str:
    """Fetch and unpack a data set; one that was cut off goes on, files that are done are not fetched again.

    Args:
        name: Of :data:`~mmmtl.hub.sources.SOURCES`.
        folder: Where to; default: ``data/NAME``.
        accept_licence: The licence has been read and is agreed to.
        ask: Asks for the agreement where it has not been given, as ``input`` does; None: nobody can be asked.
        keep_archives: Keep what was fetched after it has been unpacked.
        only: Fetch the files alone whose names hold this text.
        progress: Show bars.

    Returns:
        The folder.

    Raises:
        InputError: No such data set, no agreement, or one that has to be fetched by hand: says how.
        FileError, StorageError: See :func:`~mmmtl.hub.transfer.fetch`; with the alternatives.
    """
    if name not in SOURCES:
        raise InputError(f"no data set is called '{name}': there are {', '.join(SOURCES)}.{suggest(name, SOURCES)}")
    source = SOURCES[name]
    target = Path(folder or Path('data', name)).expanduser()
    print(told(name, source))
    if not source.files:
        raise InputError(f"'{name}' is not fetched by this command:\n" + by_hand(source))
    chosen = [file for file in source.files if only in file.filename]
    if not chosen:
        names = [file.filename for file in source.files]
        raise InputError(f"--only '{only}': no file of '{name}' is called so: there are {', '.join(names)}")
    agree(name, accept_licence, ask)
    dead = [message for file in chosen if (message := _get(source, file, target, keep_archives, progress))]
    if dead:
        raise DeadLinkError('\n'.join(dead) + '\nWhat else there is:\n' + by_hand(source))
    print(f'{target}: done. In a config: dict(type={source.kind!r}, data_root={str(target)!r}, ...)')
    return str(target)


def told(name: str, source: Source) -> str:
    """What is told before anything is fetched."""
    lines = [f'{name}: {source.title}', f'licence: {source.licence}', f'page: {source.page}']
    lines += [f'file: {f.url}' + (f' ({f.digest})' if f.digest else ' (no digest is published)') for f in source.files]
    return '\n'.join(lines)


def by_hand(source: Source) -> str:
    """What a person can do where the command cannot."""
    return '\n'.join(f'  * {line}' for line in (*source.otherwise, f'its page: {source.page}'))


def agree(name: str, accepted: bool, ask: Callable[[str], str] | None) -> None:
    """Go on only where the licence is agreed to.

    Raises:
        InputError: It is not.
    """
    if accepted:
        return
    if ask is None:
        raise InputError(f"'{name}': read the licence above, and say --accept-licence if you agree")
    if ask('Do you agree to this licence? [y/N] ').strip().lower() not in ('y', 'yes'):
        raise InputError(f"'{name}': not fetched, since the licence was not agreed to")


def terminal() -> Callable[[str], str] | None:
    """How to ask the person at the terminal; None where there is none."""
    return input if sys.stdin is not None and sys.stdin.isatty() else None


def _get(source: Source, file: RemoteFile, target: Path, keep: bool, progress: bool) -> str | None:
    """Fetch and unpack one file; the message of a dead link, None where all is done."""
    archive, done, place = target / file.filename, target / f'.{file.filename}.done', target / file.into
    unpacked = place.is_dir() and any(not path.name.startswith('.') for path in place.iterdir())
    if unpacked and done.is_file() and done.read_text(encoding='utf-8') == file.url:
        return None
    try:
        fetch(file.url, archive, file.digest, progress)
    except DeadLinkError as error:
        return str(error)
    if is_archive(file.filename):
        unpack(archive, place, file.within, progress)
        write_atomically(done, file.url)
        if not keep:
            archive.unlink()
    return None
