"""Putting a data set into tar files: its own files, unread, in WebDataset's layout, with their places in an index."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mmmtl.datasets.index_file import IndexFile, arrow, member_names, unpack
from mmmtl.datasets.io.addresses import address, join
from mmmtl.datasets.io.file_cache import parse_size
from mmmtl.datasets.io.storage import Storage
from mmmtl.errors import ConfigError, FileError
from mmmtl.utils.files import write_atomically, write_json

from .indexing import describe_row, digest_of, file_states, merged, schema_of, write_index
from .jobs import Job, convert
from .sources import Source, sources_of

_FORMAT: Any = tarfile.GNU_FORMAT
_BLOCK = 1 << 20


class _Digesting(io.RawIOBase):
    """A file that is written, and the digest and number of its bytes."""

    def __init__(self, file: Any) -> None:
        self.file, self.digest, self.size = file, hashlib.blake2b(digest_size=16), 0

    def write(self, data: Any) -> int:
        """Write and count."""
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)

    def tell(self) -> int:
        """Bytes until now."""
        return self.size


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> int:
    """Append a member; return where its content begins."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    begin = tar.offset + len(member.tobuf(_FORMAT, 'utf-8', 'surrogateescape'))  # type: ignore[attr-defined]
    tar.addfile(member, io.BytesIO(content))
    return begin


def _write_shard(
    outputs: dict[str, Path], source: Source, rows: list[dict[str, Any]], name: str, out: str, storage: Storage
) -> None:
    """Write a shard, and then the rows of its samples."""

    def fill(file: Any) -> tuple[str, int]:
        target = _Digesting(file)
        with tarfile.open(fileobj=target, mode='w', format=_FORMAT) as tar:  # type: ignore[call-overload]
            for number, row in enumerate(rows):
                files = unpack(row['files'], row['id'], source.given_root)
                names = member_names(row['id'], files)
                about = {k: row[k] for k in ('id', 'info', 'files')} | dict(number=number)
                key = next(iter(names.values())).partition('.')[0]
                _add(tar, f'{key}.sample.json', json.dumps(about).encode())
                row['shard'], row['offsets'], row['digests'] = name, [], []
                for (path, member), size in zip(names.items(), row['sizes']):
                    content = source.dataset.storage.read(path)
                    if len(content) != size:
                        raise FileError(
                            f'{path}: {len(content)} bytes, there were {size} when it was listed: start again'
                        )
                    row['offsets'].append(_add(tar, member, content))
                    row['digests'].append(digest_of(content))
        return target.digest.hexdigest(), target.size

    place, states = join(out, name), []
    if storage.is_remote(place):
        with tempfile.NamedTemporaryFile(suffix='.tar') as local:
            states.append(fill(local))
            local.flush()
            _upload(storage, local.name, place)
    else:
        write_atomically(place, lambda file: states.append(fill(file)), durable=True)
    pa = arrow()
    schema = schema_of(source.about['sources'], {}, shards=True)
    about = json.dumps(dict(name=name, digest=states[0][0], size=states[0][1], samples=len(rows)))
    table = pa.Table.from_pylist(rows, schema=schema).replace_schema_metadata({'shard': about})
    write_atomically(outputs['rows'], lambda file: pa.parquet.write_table(table, file, compression='zstd'))


def _upload(storage: Storage, local: str, place: str) -> None:
    """Put a whole file into a store; stores show it when it is complete."""
    system, remote = storage.system(place)
    storage.again(place, lambda: system.put_file(local, remote))


def _plan(source: Source, size: int) -> Iterator[list[dict[str, Any]]]:
    """The rows of every shard: samples in order, until a shard would be larger than ``size`` bytes."""
    lost: list[str] = []
    rows: list[dict[str, Any]] = []
    total = 0
    for info in source.samples:
        row, paths = describe_row(source, info)
        row['sizes'], row['changed'] = file_states(source, paths)
        if not paths:
            raise ConfigError(
                f"{type(source.dataset).__name__}: sample '{row['id']}' has no files (a data set that is made as it is read "
                'needs no shards): give a data set of files'
            )
        lost += [path for path, length in zip(paths, row['sizes']) if length is None]
        needed = sum(512 + -(-(length or 0) // 512) * 512 for length in row['sizes']) + 2048
        if rows and total + needed > size:
            yield rows
            rows, total = [], 0
        rows.append(row)
        total += needed
    if lost:
        listed = '\n'.join(lost[:20])
        raise FileError(f'{len(lost)} files are missing, nothing was put into shards that needs them:\n{listed}')
    if rows:
        yield rows


def make_shards(
    config: Mapping[str, Any],
    out: str,
    size: str | int = '1GB',
    workers: int = 0,
    progress: bool = True,
    backend_args: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Put a data set into ``shard-000000-DIGEST.tar``, ... and ``index.parquet``; the index is written last.

    Started again, it goes on where it was stopped: a shard is whole or not there. Shards of files that have changed are
    written under another name; those of an earlier index are removed when the new one is there.

    Args:
        config: The data set's config.
        out: A folder, local or remote.
        size: Bytes of a shard, or text such as ``1GB``; a larger sample is a shard by itself.
        workers: Processes; 0 for this one alone.
        progress: Show a progress bar.
        backend_args: How ``out`` is reached, where it is remote; default: as the data set's files.

    Returns:
        What the index says of the data set.
    """
    limit = parse_size(size, '--size')
    source = Source(config)
    storage = Storage(backend_args) if backend_args is not None else source.dataset.storage
    plan = list(_plan(source, limit))
    before = _shards_of(out, storage)
    source.samples = []
    parts = _parts_folder(out, storage)
    jobs = []
    for number, rows in enumerate(plan):
        key = digest_of(json.dumps([rows, source.about], default=str, sort_keys=True).encode())
        name = f'shard-{number:06d}-{key[:8]}.tar'  # another content has another name: an index never meets it
        place = join(out, name)
        outputs = dict(rows=parts / f'{number:06d}-{key}.parquet')
        if outputs['rows'].is_file() and not storage.is_file(place):
            outputs['rows'].unlink()
        arguments = dict(source=source, rows=rows, name=name, out=out, storage=storage)
        jobs.append(Job(place, outputs, arguments))
    convert(_write_shard, jobs, workers, progress, 'sharding')
    pa = arrow()
    schemas = [pa.parquet.read_schema(job.outputs['rows']) for job in jobs]
    about = dict(source.about, shards=[json.loads(schema.metadata[b'shard']) for schema in schemas])
    schema = schema_of(about['sources'], {}, shards=True)
    tables = merged(pa.parquet.read_table(job.outputs['rows'], schema=schema) for job in jobs)
    if storage.is_remote(out):
        with tempfile.TemporaryDirectory() as folder:
            local = str(Path(folder, 'index.parquet'))
            write_index(local, about, tables, schema)
            _upload(storage, local, join(out, 'index.parquet'))
    else:
        write_index(join(out, 'index.parquet'), about, tables, schema)
    shutil.rmtree(parts, ignore_errors=True)
    _remove(out, before - {shard['name'] for shard in about['shards']}, storage)
    return about


def _shards_of(out: str, storage: Storage) -> set[str]:
    """Names of the shards of an index that is there already; they go when the new index has taken its place."""
    if not storage.is_file(join(out, 'index.parquet')):
        return set()
    return {shard['name'] for shard in IndexFile(out, storage).about.get('shards', ())}


def _remove(out: str, names: set[str], storage: Storage) -> None:
    for place in (join(out, name) for name in sorted(names)):
        if not storage.is_remote(place):
            Path(place).unlink(missing_ok=True)
        elif storage.is_file(place):
            storage.system(place)[0].rm(storage.system(place)[1])


def _parts_folder(out: str, storage: Storage) -> Path:
    """Where the rows of finished shards are kept until all are there."""
    if not storage.is_remote(out):
        return Path(out, '.parts')
    name = hashlib.sha256(address(out).encode()).hexdigest()[:16]
    return Path(os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache', 'mmmtl', 'sharding', name)


# ---- verifying -------------------------------------------------------------------------------------------------------
def verify_index(path: str, backend_args: Mapping[str, Any] | None = None) -> list[dict[str, str]]:
    """Compare every shard, and where one differs every member, with the digests in the index.

    Args:
        path: The index, or the folder of the shards. Of an index without shards, the loose files are compared.
        backend_args: How it is reached.

    Returns:
        The faults: ``shard``, ``member``, ``sample_id`` and ``message`` of each.

    Raises:
        ConfigError: An index that keeps no digests.
    """
    storage = Storage(backend_args)
    index = IndexFile(path, storage)
    pa = arrow()
    names = pa.parquet.read_schema(index.local).names
    if 'digests' not in names:
        raise ConfigError(f'{index.path}: the index keeps no digests: mmmtl index --digest keeps them')
    wanted = ('id', 'files', 'digests', 'shard', 'offsets', 'sizes')
    table = pa.parquet.read_table(index.local, columns=[name for name in wanted if name in names])
    if 'shards' not in index.about:
        return _verify_loose(index, table, storage)
    faults: list[dict[str, str]] = []
    for about in index.about['shards']:
        place = join(index.folder, about['name'])
        rows = table.filter(pa.compute.equal(table['shard'], about['name'])).to_pylist()
        faults += _verify_shard(place, about, rows, storage)
    return faults


def _verify_shard(place: str, about: Mapping[str, Any], rows: Sequence[dict], storage: Storage) -> list[dict[str, str]]:
    try:
        digest, size = _shard_state(place, storage)
    except (OSError, FileError) as error:
        return [dict(shard=place, member='', sample_id='', message=f'cannot be read: {error}')]
    if (digest, size) == (about['digest'], about['size']):
        return []
    faults = []
    for row in rows:
        names = member_names(row['id'], unpack(row['files'], row['id'], ''))
        for member, offset, length, expected in zip(names.values(), row['offsets'], row['sizes'], row['digests']):
            message = ''
            try:
                found = digest_of(storage.read(place, offset, length))
                if found != expected:
                    message = f'expected the digest {expected}, found {found}'
            except (OSError, FileError) as error:
                message = str(error)
            if message:
                faults.append(dict(shard=place, member=member, sample_id=row['id'], message=message))
    if not faults:
        message = (
            f'expected {about["size"]} bytes of digest {about["digest"]}, found {size} of {digest}: its members are in '
        )
        message += 'order, what lies between them (headers, descriptions of samples) is not'
        faults.append(dict(shard=place, member='', sample_id='', message=message))
    return faults


def _shard_state(place: str, storage: Storage) -> tuple[str, int]:
    """Digest and size of a whole shard, read in blocks."""
    total, size = hashlib.blake2b(digest_size=16), 0
    with storage.stream(place) as file:
        while block := file.read(_BLOCK):
            total.update(block)
            size += len(block)
    return total.hexdigest(), size


def _verify_loose(index: IndexFile, table: Any, storage: Storage) -> list[dict[str, str]]:
    faults = []
    for row in table.select(['id', 'files', 'digests']).to_pylist():
        files = unpack(row['files'], row['id'], index.about['root'] or '')
        for path, expected in zip(dict.fromkeys(p for some in files.values() for p in some), row['digests']):
            try:
                found = digest_of(storage.read(path))
                message = '' if found == expected else f'expected the digest {expected}, found {found}'
            except (OSError, FileError) as error:
                message = str(error)
            if message:
                faults.append(dict(shard='', member=address(path), sample_id=row['id'], message=message))
    return faults


# ---- commands --------------------------------------------------------------------------------------------------------
def shard_command(cfg: Mapping[str, Any], out: str, size: str, splits: Sequence[str], workers: int) -> None:
    """Put the data sets of a config into shards, each in a folder of its own where there are several."""
    found = list(sources_of(cfg, splits))
    if not found:
        raise FileError(f'the config has no data set for {", ".join(splits)}')
    for number, (split, config) in enumerate(found):
        several = [s for s, _ in found].count(split) > 1
        folder = out if len(found) == 1 else join(out, f'{split}{f"_{number}" if several else ""}')
        about = make_shards(config, folder, size, workers)
        total = sum(shard['size'] for shard in about['shards'])
        print(
            f'{split}: {about["rows"]} samples in {len(about["shards"])} shards of together {total / 1e9:.3g} GB: '
            f"dict(type='IndexedDataset', index={join(folder, 'index.parquet')!r})"
        )


def verify_index_command(path: str, out: str | None = None) -> int:
    """Verify an index and print every fault.

    Args:
        path: The index, or the folder of the shards.
        out: JSON file to write the faults to.

    Returns:
        The number of faults.
    """
    faults = verify_index(path)
    for fault in faults:
        where = ', member '.join(text for text in (fault['shard'], fault['member']) if text)
        of = f" (sample '{fault['sample_id']}')" if fault['sample_id'] else ''
        print(f'{where}{of}: {fault["message"]}')
    if out:
        write_json(out, faults, indent=1)
    print(f'{len(faults)} bad members' if faults else 'every member is in order')
    return len(faults)
