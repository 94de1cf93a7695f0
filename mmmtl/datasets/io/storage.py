"""Where the bytes of files come from: a disk, any store that fsspec or mmengine knows, or the members of shards.

Every reader of this folder opens its files here. A path is an address: a local path, or ``scheme://...``. What the addresses
of one data set need besides (credentials, a cache, how often to try) is a :class:`Storage`; it holds within
``with storage.use():``, in which a sample's files may also be members of shards.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from glob import has_magic
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar, cast

from mmmtl.errors import ConfigError, UnreadableError, suggest

from .addresses import Member, address, has_scheme, join, read_local
from .file_cache import FileCache, parse_size

T = TypeVar('T')
_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ConfigError, ImportError)
_TRY_AGAIN = (408, 425, 429)
_OWN = ('backend', 'cache_dir', 'cache_size', 'retries', 'backoff', 'timeout')


@dataclass
class _Scope:
    """What holds while files are read: the storage, the members of the sample, and what was fetched for it."""

    storage: Storage
    members: Mapping[str, Member] | None = None
    fetched: dict[str, bytes] | None = None
    owner: object = None


class Storage:
    """How the files of one data set are reached.

    Args:
        backend_args: ``backend``: one of mmengine's (``local``, ``http``, ``petrel``, ``lmdb``, ...) with its arguments, or
            ``fsspec`` (the default for addresses ``scheme://``) with the file system's options, such as
            ``client_kwargs=dict(endpoint_url=...)`` of S3. Also, for every backend: ``cache_dir`` and ``cache_size``, a
            local cache of what was fetched (default: none; 10 GB); ``retries``, how often a transfer that failed is tried
            again (4); ``backoff``, seconds before the first of them, doubled each time (0.2); ``timeout``, seconds that a
            transfer may take (60).

    Raises:
        ConfigError: A backend that there is not, or an argument that is no such number.
    """

    def __init__(self, backend_args: Mapping[str, Any] | None = None) -> None:
        given = dict(backend_args or {})
        self.options = {k: v for k, v in given.items() if k not in _OWN}
        self.backend = str(given.get('backend') or 'fsspec')
        self.retries, self.backoff = int(_number(given, 'retries', 4)), _number(given, 'backoff', 0.2)
        self.timeout = _number(given, 'timeout', 60.0)
        limit = parse_size(given.get('cache_size', '10GB'), 'backend_args.cache_size')
        self.cache = FileCache(given['cache_dir'], limit) if given.get('cache_dir') else None
        if self.cache is None and 'cache_size' in given:
            raise ConfigError('backend_args.cache_size is the size of a cache: say cache_dir=FOLDER, too')
        self._made: tuple[int, Any] | None = None
        if self.backend != 'fsspec':
            self._client()
        elif self.options and self.options.keys() <= {'db_path', 'root_path', 'client_cfg'}:
            raise ConfigError(
                f"backend_args: {sorted(self.options)} are of one of mmengine's backends: say backend=NAME"
            )

    # ---- reading ---------------------------------------------------------------------------------------------------
    def is_remote(self, path: str | Path) -> bool:
        """Whether a path is not read from a local disk."""
        if self.backend not in ('fsspec', 'local'):
            return True
        return has_scheme(path)

    def read(self, path: str | Path, offset: int = 0, size: int | None = None, version: str = '') -> bytes:
        """The bytes of a file, or a range of them.

        Args:
            path: The file.
            offset: Where the range begins.
            size: Bytes of the range; None for the whole file.
            version: Something that changes with the file's content; part of the cache's key.

        Raises:
            FileNotFoundError: No such file.
            UnreadableError: The transfer failed each time; names the address.
        """
        where = address(path)
        if not self.is_remote(where):
            return read_local(where, offset, size)
        key = f'{where}\n{offset}\n{size}\n{version}\n{self._store()}'
        found = self.cache.get(key) if self.cache else None
        if found is None:
            found = self.again(where, lambda: self._fetch(where, offset, size))
            if self.cache:
                self.cache.put(key, found)
        return found

    def _store(self) -> str:
        """Which store it is, of several that have the same addresses; who reads is left out."""
        named = {k: v for k, v in self.options.items() if k not in ('key', 'secret', 'token', 'username', 'password')}
        return json.dumps([self.backend, named], default=str, sort_keys=True)

    def stream(self, path: str | Path) -> BinaryIO:
        """A file, open for reading from its beginning to its end; a remote one is first copied to a temporary file."""
        where = address(path)
        if not self.is_remote(where):
            return open(where, 'rb')
        if self.backend != 'fsspec':
            return io.BytesIO(self.read(where))
        system, place = self.system(where)
        copy = tempfile.NamedTemporaryFile(suffix='.tar')
        self.again(where, lambda: system.get_file(place, copy.name))
        return cast(BinaryIO, copy)

    def _fetch(self, where: str, offset: int, size: int | None) -> bytes:
        """One transfer; a store that gives another number of bytes than it was asked for has failed."""
        if self.backend != 'fsspec':
            if size is not None:
                raise ConfigError(
                    f"{where}: mmengine's backend '{self.backend}' reads whole files, not ranges of shards: leave backend "
                    f'out where fsspec reads that address, or stream the shards (ShardStream)'
                )
            return self._client().get(where)
        system, place = self.system(where)
        data = system.cat_file(place) if size is None else system.cat_file(place, start=offset, end=offset + size)
        if size is not None and len(data) != size:
            raise OSError(
                f'{len(data)} bytes instead of {size} from byte {offset} on'
                + (' (does the server know ranges? If not, stream the shards: ShardStream)' if len(data) > size else '')
            )
        return data

    def again(self, where: str, transfer: Callable[[], T]) -> T:
        """Try a transfer until it succeeds or may not be tried again."""
        for attempt in range(self.retries + 1):
            try:
                return transfer()
            except Exception as error:  # stores raise whatever their clients do
                status = getattr(error, 'status', None)
                if status == 404:
                    raise FileNotFoundError(f'{where}: no such file') from error
                final = isinstance(status, int) and 400 <= status < 500 and status not in _TRY_AGAIN
                if isinstance(error, _FINAL):
                    raise
                if final or attempt == self.retries:
                    tries = f'{attempt + 1} attempts' if attempt else 'one attempt'
                    raise UnreadableError(
                        f'{where}: could not be fetched in {tries}: {type(error).__name__}: {error}'
                    ) from error
                time.sleep(self.backoff * 2**attempt)
        raise AssertionError('unreachable')

    def _client(self) -> Any:
        """mmengine's backend."""
        from mmengine.fileio import get_file_backend
        from mmengine.fileio.backends.registry_utils import backends

        if self.backend not in backends:
            known = [*backends, 'fsspec']
            raise ConfigError(
                f"backend_args.backend: '{self.backend}' is not one of {sorted(known)}.{suggest(self.backend, known)}"
            )
        if self._made is None or self._made[0] != os.getpid():  # connections do not outlive a fork
            self._made = os.getpid(), get_file_backend(backend_args=dict(self.options, backend=self.backend))
        return self._made[1]

    def system(self, where: str) -> tuple[Any, str]:
        """fsspec's file system of an address, and the path in it."""
        try:
            import fsspec
        except ImportError as error:
            raise ConfigError(f'{where}: remote files need fsspec: pip install "mmmtl[large]"') from error
        options = dict(self.options)
        scheme = where.partition('://')[0].rpartition('::')[2]
        if scheme in ('http', 'https'):
            import aiohttp

            options.setdefault('client_kwargs', {'timeout': aiohttp.ClientTimeout(total=self.timeout)})
        elif scheme in ('s3', 's3a'):
            options.setdefault('config_kwargs', dict(read_timeout=self.timeout, connect_timeout=self.timeout))
        try:
            return fsspec.core.url_to_fs(where, **options)
        except (ImportError, ValueError, TypeError) as error:
            raise ConfigError(f'{where}: fsspec cannot open that address: {error}') from error

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__, _made=None)

    # ---- looking ---------------------------------------------------------------------------------------------------
    def is_file(self, path: str | Path) -> bool:
        """Whether there is such a file."""
        where = address(path)
        if not self.is_remote(where):
            return Path(where).is_file()
        if self.backend == 'fsspec':
            system, place = self.system(where)
            return self.again(where, lambda: system.isfile(place))
        try:
            return self.again(where, lambda: self._client().get(where)) is not None
        except (FileNotFoundError, UnreadableError):
            return False

    def size(self, path: str | Path) -> int | None:
        """Bytes of a remote file; None of one that is not there, or whose store does not say."""
        where = address(path)
        if self.backend != 'fsspec':
            return None
        system, place = self.system(where)
        try:
            return self.again(where, lambda: system.info(place)).get('size')
        except FileNotFoundError:
            return None

    def is_dir(self, path: str | Path) -> bool:
        """Whether there is such a folder."""
        where = address(path)
        if not self.is_remote(where):
            return Path(where).is_dir()
        system, place = self._listing(where)
        return self.again(where, lambda: system.isdir(place))

    def find(self, path: str | Path) -> list[str]:
        """Paths of all files below a remote folder, relative to it."""
        where = address(path).rstrip('/')
        system, place = self._listing(where)
        found = self.again(where, lambda: system.find(place))
        return sorted(one[len(place.rstrip('/')) + 1 :] for one in found)

    def glob(self, root: str | Path, pattern: str) -> list[str]:
        """Paths below a folder that match a pattern, relative to it and sorted."""
        where = address(root)
        if not self.is_remote(where):
            return sorted(path.relative_to(where).as_posix() for path in Path(where).glob(pattern))
        parts = PurePosixPath(pattern).parts
        fixed = list(takewhile(lambda part: not has_magic(part), parts[:-1]))  # only what lies below is listed
        if not self.is_dir(join(where, *fixed)):
            return []
        found = [PurePosixPath(*fixed, path) for path in self.find(join(where, *fixed))]
        return [str(path) for path in found if len(path.parts) == len(parts) and path.match(pattern)]

    def _listing(self, where: str) -> tuple[Any, str]:
        if self.backend != 'fsspec':
            raise ConfigError(
                f"{where}: mmengine's backend '{self.backend}' cannot list files: make an index of the data set where they "
                f'can be listed (mmmtl index), and use IndexedDataset'
            )
        return self.system(where)

    @contextlib.contextmanager
    def use(
        self, members: Mapping[str, Member] | None = None, owner: object = None, fetched: dict[str, bytes] | None = None
    ) -> Iterator[None]:
        """Read through this storage; of a sample in shards, ``members`` says where its files are.

        A remote file is fetched once, however often it is opened within; so it is in nested uses by one
        ``owner``. ``fetched`` is what is there already.
        """
        if owner is not None and _now().owner is owner:
            yield
            return
        token = _scope.set(_Scope(self, members, {} if fetched is None else fetched, owner))
        try:
            yield
        finally:
            _scope.reset(token)


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    value = given.get(name, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ConfigError(f'backend_args.{name}: expected a number of at least 0, found {value!r}')
    return value


_LOCAL = Storage()
_scope: ContextVar[_Scope | None] = ContextVar('storage', default=None)


def _now() -> _Scope:
    return _scope.get() or _Scope(_LOCAL)


# ---- what readers call -----------------------------------------------------------------------------------------------
def _member(path: str | Path) -> Member | None:
    """Where a sample's file is in the shards; None without shards."""
    members = _now().members
    if members is None:
        return None
    key = str(Path(path))
    if key not in members:
        raise FileNotFoundError(f'{address(path)}: not among the files of this sample in its shard')
    return members[key]


def is_local(path: str | Path) -> bool:
    """Whether a path is a file of this machine, which may also be mapped into memory."""
    scope = _now()
    return scope.members is None and not scope.storage.is_remote(path)


def described(path: str | Path) -> str:
    """A file in messages: its address, and its shard and member where it is in one."""
    members = _now().members or {}
    member = members.get(str(Path(path)))
    return address(path) + (f' ({member})' if member else '')


def read_bytes(path: str | Path) -> bytes:
    """The content of a file.

    Raises:
        FileNotFoundError: No such file.
        UnreadableError: A transfer that failed each time.
    """
    if is_local(path):
        return Path(address(path)).read_bytes()
    scope, key = _now(), str(Path(path))
    found = scope.fetched.get(key) if scope.fetched is not None else None
    if found is None:
        member = _member(path)
        if member is None:
            found = scope.storage.read(path)
        else:
            found = scope.storage.read(member.shard, member.offset, member.size)
        if scope.fetched is not None:
            scope.fetched[key] = found
    return found


def open_file(path: str | Path) -> BinaryIO:
    """A file, open for reading; one that is not local comes as a whole."""
    return cast(BinaryIO, open(address(path), 'rb')) if is_local(path) else io.BytesIO(read_bytes(path))


@contextlib.contextmanager
def local_file(path: str | Path) -> Iterator[str]:
    """The path of a local file with the content of ``path``, for libraries that take nothing else."""
    if is_local(path):
        yield address(path)
        return
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder, f'file{Path(path).suffix}')
        place.write_bytes(read_bytes(path))
        yield str(place)


def is_file(path: str | Path) -> bool:
    """Whether there is such a file; of a sample in shards, whether it is among its members."""
    scope = _now()
    if scope.members is not None:
        return str(Path(path)) in scope.members
    return scope.storage.is_file(path)


def is_dir(path: str | Path) -> bool:
    """Whether there is such a folder."""
    return _now().storage.is_dir(path)


def find_files(path: str | Path) -> list[str]:
    """Paths of all files below a remote folder, relative to it."""
    return _now().storage.find(path)


def glob_files(root: str | Path, pattern: str) -> list[str]:
    """Paths below a folder that match a pattern, relative to it and sorted."""
    return _now().storage.glob(root, pattern)
