"""The index of a data set: a Parquet file with a row a sample, read through a copy of its columns that is mapped into memory.

Columns: ``id``; ``info``, the sample's description as JSON; ``files``, its files as JSON ``{'image': [...], SOURCE: [...]}``;
``label.SOURCE``, whether that label exists; ``sizes`` and ``changed``, bytes and time of change (ns) of each file; ``digests``,
``values``, ``height`` and ``width`` where they were asked for; of shards ``shard`` and ``offsets``. In ``info`` and ``files``
the data set's folder and the sample's id are left out, so that most data sets have few different texts there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.errors import ConfigError, FileError, NotFoundError
from mmmtl.utils.files import safe_name, write_atomically
from mmmtl.utils.locks import one_at_a_time
from mmmtl.utils.optional import require

from .io.addresses import Member, address, join
from .io.label_cache import LabelCache
from .io.storage import Storage
from .label_columns import IdColumn, set_type

VERSION = 2
KEY = b'mmmtl'
_ID, _ROOT = '\x1a', '\x1c'  # JSON writes control characters as \u00XX, so these occur in no text
_BATCH = 1 << 16


def arrow() -> Any:
    """The package ``pyarrow``.

    Raises:
        ConfigError: It is not installed.
    """
    for module in ('pyarrow', 'pyarrow.compute', 'pyarrow.ipc', 'pyarrow.parquet'):
        require(module, 'indexes are read by Arrow, which is not installed', 'large')
    import pyarrow

    return pyarrow


def pack(value: Any, sample_id: str, root: str) -> str:
    """A description as JSON, without the id and the data set's folder, where these occur.

    Raises:
        ConfigError: Something that JSON does not have.
    """
    try:
        text = json.dumps(value, separators=(',', ':'))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"sample '{sample_id}' cannot be kept in an index: {error}: {value!r:.200}") from error
    return text.replace(_quoted(root), f'"{_ROOT}').replace(json.dumps(sample_id)[1:-1], _ID)


def unpack(text: str, sample_id: str, root: str) -> Any:
    """The inverse of :func:`pack`; ``root`` may be another one."""
    return json.loads(text.replace(_ID, json.dumps(sample_id)[1:-1]).replace(f'"{_ROOT}', _quoted(root)))


def _quoted(root: str) -> str:
    return '"' + json.dumps(join(root, ''))[1:-1].rstrip('/') + '/'


def member_names(sample_id: str, files: Mapping[str, list[str]]) -> dict[str, str]:
    """``{path: name of the member}`` of a sample's files: ``KEY.KIND.SUFFIX``, in the order they are stored.

    WebDataset takes what comes before the first dot of a name as the sample's key. A file that is of several kinds is stored
    once.
    """
    key = safe_name(sample_id).replace('.', '%2E')
    names: dict[str, str] = {}
    for kind, paths in files.items():
        for number, path in enumerate(paths):
            place = kind if number == 0 else f'{kind}.{number}'
            names.setdefault(path, f'{key}.{place}{Path(path).suffix.lower()}')
    return names


def content_digest(ids: list[str], labels: np.ndarray, before: str = '') -> str:
    """A digest of ids and their existing labels that continues ``before``."""
    total = hashlib.blake2b(before.encode(), digest_size=16)
    total.update('\0'.join(ids).encode())
    total.update(np.ascontiguousarray(labels, '<u8').tobytes())
    return total.hexdigest()


class IndexFile:
    """An index, opened without reading its rows.

    The columns that training needs are copied once into an Arrow file in the folder ``.mmmtl_cache`` beside the index (in
    the user's cache folder, where that is read-only, or the index remote) and mapped into memory from there; so are columns
    that are made of it, by :meth:`cached`.

    Args:
        path: The Parquet file, or a folder of shards with its ``index.parquet``; local or remote.
        storage: How it is reached.

    Raises:
        NotFoundError: No such file.
        FileError: A file that is no index.
    """

    def __init__(self, path: str, storage: Storage) -> None:
        self.path = address(path)
        if not self.path.endswith('.parquet'):
            self.path = join(self.path, 'index.parquet')
        self.folder = self.path.rpartition('/')[0] or '.'
        local = self._fetched(storage) if storage.is_remote(self.path) else self.path
        if not Path(local).is_file():
            raise NotFoundError(f'index {self.path}: no such file: mmmtl index CONFIG --out {self.path} makes it')
        state = Path(local).stat()
        cache = LabelCache.beside(Path(local).parent, 'auto').folder
        key = hashlib.blake2b(f'{VERSION} {state.st_size} {state.st_mtime_ns}'.encode(), digest_size=8).hexdigest()
        self.local, self.cache = local, Path(cache or '.')
        self.side = self.cache / f'{Path(self.path).stem}-{key}.arrow'
        self.about = self._about()
        self.sources: list[str] = self.about['sources']
        self._opened: tuple[Any, np.ndarray, dict] | None = None

    def _fetched(self, storage: Storage) -> str:
        """A local copy of a remote index, fetched again where it has changed."""
        if storage.backend == 'fsspec':
            system, place = storage.system(self.path)
            try:
                state = {k: str(v) for k, v in sorted(system.info(place).items())}
            except FileNotFoundError as error:
                raise NotFoundError(f'index {self.path}: no such file') from error
        else:
            state = dict(digest=hashlib.sha256(storage.read(self.path)).hexdigest())
        key = hashlib.blake2b(json.dumps([self.path, state]).encode(), digest_size=16).hexdigest()
        base = Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmmtl', 'indexes')
        copy = base / key / Path(self.path).name
        if not copy.is_file():
            write_atomically(copy, storage.read(self.path, version=key))
        return str(copy)

    def _about(self) -> dict[str, Any]:
        pa = arrow()
        try:
            with open(self.local, 'rb') as file:
                about = json.loads((pa.parquet.read_metadata(file).metadata or {})[KEY])
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise FileError(
                f'{self.path}: expected an index written by mmmtl index or mmmtl shard, found none '
                f'({type(error).__name__}: {error})'
            ) from error
        if about.get('version') != VERSION:
            raise FileError(
                f'{self.path}: expected an index of version {VERSION}, found {about.get("version")}: make it again'
            )
        return about

    def __len__(self) -> int:
        return self.about['rows']

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__, _opened=None)

    # ---- the mapped copy -------------------------------------------------------------------------------------------
    def _mapped(self) -> tuple[Any, np.ndarray, dict]:
        """The Arrow file, the first row of each of its batches, and what was read of them."""
        if self._opened is None:
            pa = arrow()
            if not self.side.is_file():
                with self.alone():
                    if not self.side.is_file():
                        write_atomically(self.side, self._write_side)
            file = pa.ipc.open_file(pa.memory_map(str(self.side)))
            starts = np.cumsum([0, *(file.get_batch(k).num_rows for k in range(file.num_record_batches))])
            texts = json.loads(file.schema.metadata[KEY])
            self._opened = file, starts, dict(texts=texts, batches={})
        return self._opened

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Of the processes of this machine, one at a time makes what is kept; the others wait and read it."""
        return one_at_a_time(self.cache)

    def _write_side(self, target: Any) -> None:
        pa = arrow()
        source = pa.parquet.ParquetFile(self.local, memory_map=True)
        names = source.schema_arrow.names
        texts: dict[str, list[str]] = {}
        for name in ('info', 'files', *(['shard'] if 'shard' in names else [])):
            texts[name] = _few_texts(source, name)
        label_type = set_type(len(self.sources))
        bits = [pa.field('labels', pa.from_numpy_dtype(label_type))]
        fields = [pa.field('id', pa.binary()), *bits]
        fields += [pa.field(name, pa.int32() if texts[name] else pa.string()) for name in texts]
        more = [name for name in ('offsets', 'sizes') if 'shard' in names]
        fields += [pa.field(name, pa.list_(pa.int64())) for name in more]
        schema = pa.schema(fields, {KEY: json.dumps(texts).encode()})
        wanted = ['id', *texts, *more, *(f'label.{s}' for s in self.sources)]
        with pa.ipc.new_file(target, schema) as writer:
            for batch in source.iter_batches(_BATCH, columns=wanted):
                labels = np.zeros(batch.num_rows, label_type)
                for bit, name in enumerate(self.sources):
                    labels |= batch[f'label.{name}'].to_numpy(zero_copy_only=False).astype(label_type) << bit
                columns = [batch['id'].cast(pa.binary()), pa.array(labels)]
                for name, known in texts.items():
                    found = batch[name].cast(pa.string())
                    columns.append(pa.compute.index_in(found, pa.array(known, pa.string())) if known else found)
                writer.write_batch(pa.record_batch([*columns, *(batch[name] for name in more)], schema=schema))

    def _cell(self, row: int, name: str) -> Any:
        file, starts, kept = self._mapped()
        number = int(np.searchsorted(starts, row, 'right')) - 1
        if number not in kept['batches']:
            kept['batches'][number] = file.get_batch(number)  # mapped: nothing is copied
        value = kept['batches'][number].column(name)[row - int(starts[number])].as_py()
        return kept['texts'][name][value] if kept['texts'].get(name) else value

    # ---- rows and columns ------------------------------------------------------------------------------------------
    def sample_id(self, row: int) -> str:
        """The id of a sample."""
        return self._cell(row, 'id').decode()

    def info(self, row: int, root: str) -> dict[str, Any]:
        """The description of a sample, below ``root``, with the sources of its existing labels as ``available``."""
        sample_id = self.sample_id(row)
        kinds = self._cell(row, 'labels')
        there = tuple(name for bit, name in enumerate(self.sources) if kinds >> bit & 1)
        return dict(unpack(self._cell(row, 'info'), sample_id, root), sample_id=sample_id, available=there)

    def members(self, row: int, root: str) -> dict[str, Member] | None:
        """``{path: member}`` of a sample in shards; None of one whose files are loose."""
        if 'shards' not in self.about:
            return None
        sample_id = self.sample_id(row)
        names = member_names(sample_id, unpack(self._cell(row, 'files'), sample_id, root))
        shard = join(self.folder, self._cell(row, 'shard'))
        places = zip(names.items(), self._cell(row, 'offsets'), self._cell(row, 'sizes'))
        return {str(Path(path)): Member(shard, offset, size, name) for (path, name), offset, size in places}

    def ids(self) -> IdColumn:
        """The column of ids."""

        def parts() -> Iterator[list[bytes]]:
            file = self._mapped()[0]
            for number in range(file.num_record_batches):
                yield file.get_batch(number).column('id').to_pylist()

        return IdColumn(parts, self.sample_id, len(self))

    def available(self, sources: list[str]) -> np.ndarray:
        """(n,) sets of those ``sources`` whose label exists, a bit for each in their order."""
        file = self._mapped()[0]
        result = np.empty(len(self), set_type(len(sources)))
        start = 0
        for number in range(file.num_record_batches):
            stored = file.get_batch(number).column('labels').to_numpy()
            part = result[start : start + len(stored)]
            part[:] = 0
            for bit, name in enumerate(sources):
                if name in self.sources:
                    part |= (stored >> self.sources.index(name) & 1).astype(part.dtype) << bit
            start += len(stored)
        return result

    def cached(self, name: str, key: Mapping[str, Any], make: Callable[[], np.ndarray]) -> np.ndarray:
        """A column made of ids and existing labels, mapped from the cache.

        Args:
            name: Beginning of the file's name.
            key: What it depends on besides them, as JSON.
            make: Makes it.
        """
        self._mapped()  # before the lock is taken, which making it takes, too
        text = json.dumps([VERSION, self.about['content'], self.sources, key], sort_keys=True)
        place = self.cache / f'{name}-{hashlib.blake2b(text.encode(), digest_size=16).hexdigest()}.npy'
        if not place.is_file():
            with self.alone():
                if not place.is_file():
                    made = make()
                    write_atomically(place, lambda file: np.save(file, made, allow_pickle=False))
        return np.load(place, mmap_mode='r', allow_pickle=False) if place.stat().st_size > 128 else np.load(place)


def _few_texts(source: Any, name: str, most: int = 1 << 16) -> list[str]:
    """The different texts of a column; none of a column that has too many."""
    pa = arrow()
    found: dict[str, None] = {}
    for group in range(source.num_row_groups):
        column = source.read_row_group(group, columns=[name]).column(name).cast(pa.string())
        found.update(dict.fromkeys(pa.compute.unique(column).to_pylist()))
        if len(found) > most or (group == 0 and len(found) > max(64, len(column) // 4)):
            return []
    return list(found)
