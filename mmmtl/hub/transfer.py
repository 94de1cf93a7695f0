"""One file from the network: gone on with where it was cut off, whole or not there, and checked."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from mmmtl.errors import FileError, StorageError
from mmmtl.utils.files import write_json
from mmmtl.version import __version__

BLOCK = 1 << 20
TRIES = 5
TIMEOUT = 60.0
"""Seconds without a byte after which a transfer counts as broken."""
RESERVE = 256 << 20
"""Bytes that a disk keeps free."""
_BROKEN = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError)


class DeadLinkError(FileError):
    """An address that does not give its file; the message says what the server said."""


def fetch(url: str, target: Path, digest: str = '', progress: bool = True, pause: float = 1.0) -> Path:
    """Download a file; one that is there already and right is kept.

    Args:
        url: Its address, ``http`` or ``https``.
        target: Where it goes. While it comes it is ``NAME.part``, with what the server calls its version in
            ``NAME.part.json``: a later call goes on from there if the server still has that version.
        digest: ``sha256:...`` or ``md5:...``; '' where its publisher states none.
        progress: Show a bar.
        pause: Seconds to wait before a broken transfer is tried again; doubled every time.

    Raises:
        DeadLinkError: The server has no such file, or is not there.
        FileError: The transfer kept breaking (what came is kept), or the file is not the one that was meant.
        StorageError: The disk has not enough room.
    """
    if not url.startswith(('https://', 'http://')):
        raise FileError(f'{url}: expected an address that begins with https:// or http://')
    if target.is_file():
        if not digest or _digest(target, digest) == digest:
            return target
        target.unlink()  # another version, or damaged
    target.parent.mkdir(parents=True, exist_ok=True)
    last: Exception | None = None
    for attempt in range(TRIES):
        if attempt:
            time.sleep(pause * 2 ** (attempt - 1))
        before = _size(_part(target))
        try:
            _transfer(url, target, progress)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 425, 429):
                raise DeadLinkError(f'{url}: the server answers {error.code} {error.reason}') from error
            last = error
        except _BROKEN as error:
            if attempt == TRIES - 1 and not before and not _size(_part(target)):
                raise DeadLinkError(f'{url}: no answer ({getattr(error, "reason", error)})') from error
            last = error
        else:
            return _finish(url, target, digest)
    had = _size(_part(target))
    raise FileError(
        f'{url}: the transfer broke {TRIES} times, at last after {had / 2**20:.1f} MiB ({last}). They are kept in '
        f'{_part(target)}: the same command goes on from there'
    )


def _part(target: Path) -> Path:
    return target.with_name(target.name + '.part')


def _note(target: Path) -> Path:
    return target.with_name(target.name + '.part.json')


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _transfer(url: str, target: Path, progress: bool) -> None:
    """Fetch what is missing of a file into its ``.part``.

    Raises:
        ConnectionError: The server closed the connection early.
    """
    had, version = _size(_part(target)), _version_of_part(target, url)
    headers = {'User-Agent': f'mmmtl/{__version__}', 'Accept-Encoding': 'identity'}
    if had and version:
        headers |= {'Range': f'bytes={had}-', 'If-Range': version}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        _part(target).unlink(missing_ok=True)  # more than the file has: begun anew
        raise ConnectionError('the server has less than what was kept') from error
    with response:
        goes_on = response.status == 206 and _begins_at(response.headers) == had
        if response.status == 206 and not goes_on:
            raise ConnectionError(f'the server gave another part than the one asked for ({had})')
        had = had if goes_on else 0
        length = response.headers.get('Content-Length')
        total = had + int(length) if length and length.isdigit() else None
        check_room(target.parent, (total or 0) - had, target.name)
        with (
            open(_part(target), 'ab' if goes_on else 'wb') as file,
            tqdm(total=total, initial=had, unit='B', unit_scale=True, desc=target.name, disable=not progress) as bar,
        ):
            # not before the bytes of another version are gone
            write_json(_note(target), dict(url=url, version=_strong_version(response.headers)))
            for block in _blocks(response):
                file.write(block)
                bar.update(len(block))
    if total is not None and _size(_part(target)) != total:
        raise ConnectionError(f'{_size(_part(target))} of {total} bytes came')


def _blocks(response: Any) -> Iterator[bytes]:
    """What a server sends, also the piece before it broke off."""
    while True:
        try:
            block = response.read(BLOCK)
        except http.client.IncompleteRead as error:
            yield error.partial
            raise ConnectionError('the connection closed early') from error
        if not block:
            return
        yield block


def _version_of_part(target: Path, url: str) -> str | None:
    """What the server called the version of the kept part; None where it cannot be gone on with."""
    with contextlib.suppress(OSError, ValueError):
        note = json.loads(_note(target).read_text(encoding='utf-8'))
        if isinstance(note, dict) and note.get('url') == url and isinstance(note.get('version'), str):
            return note['version']
    return None


def _strong_version(headers: Mapping[str, str]) -> str | None:
    """The mark by which a server recognises the same bytes again."""
    tag = headers.get('ETag') or ''
    return tag if tag.startswith('"') else headers.get('Last-Modified')


def _begins_at(headers: Mapping[str, str]) -> int:
    """First byte of a partial answer; -1 where it does not say."""
    kind, _, rest = (headers.get('Content-Range') or '').partition(' ')
    first = rest.partition('-')[0]
    return int(first) if kind == 'bytes' and first.isdigit() else -1


def check_room(folder: Path, needed: int, what: str) -> None:
    """See that a disk has room.

    Raises:
        StorageError: It has not.
    """
    free = shutil.disk_usage(folder).free
    if needed + RESERVE > free:
        raise StorageError(
            f'{what} needs {needed / 2**30:.2f} GiB more, and {folder} has {free / 2**30:.2f} GiB free: make room, or '
            f'say another folder'
        )


def _digest(path: Path, like: str) -> str:
    """Digest of a file in the form of ``like``, ``KIND:HEX``."""
    kind = like.partition(':')[0]
    digest = hashlib.new(kind, usedforsecurity=False)
    with open(path, 'rb') as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return f'{kind}:{digest.hexdigest()}'


def _finish(url: str, target: Path, digest: str) -> Path:
    """Check a whole ``.part`` and give it its name."""
    if digest:
        found = _digest(_part(target), digest)
        if found != digest:
            _part(target).unlink()
            _note(target).unlink(missing_ok=True)
            raise FileError(
                f'{url}: expected {digest}, found {found}: the file has changed or was damaged on its way, and is not kept'
            )
    os.replace(_part(target), target)
    _note(target).unlink(missing_ok=True)
    return target
