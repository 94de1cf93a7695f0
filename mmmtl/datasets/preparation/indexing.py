"""Making the index of a data set: in parts, by several processes, again only where files have changed."""

from __future__ import annotations

import hashlib
import json
import os
import os.path as osp
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.index_file import KEY, arrow, content_digest, pack, unpack
from mmmtl.datasets.io.storage import read_bytes
from mmmtl.datasets.label_columns import set_type
from mmmtl.datasets.statistics import LabelValues
from mmmtl.errors import ConfigError, FileError
from mmmtl.utils.files import write_atomically

from .jobs import Job, convert
from .sources import Source, folder_source, sources_of

_PART = 2048


def schema_of(sources: Sequence[str], options: Mapping[str, Any], shards: bool = False) -> Any:
    """The columns of an index."""
    pa = arrow()
    numbers, texts = pa.list_(pa.int64()), pa.list_(pa.string())
    fields = [('id', pa.string()), ('info', pa.string()), ('files', pa.string())]
    fields += [(f'label.{source}', pa.bool_()) for source in sources]
    fields += [('sizes', numbers), ('changed', numbers)]
    fields += [('digests', texts)] if options.get('digest') or shards else []
    fields += [('values', pa.string()), ('height', pa.int32()), ('width', pa.int32())] if options.get('values') else []
    fields += [('shard', pa.string()), ('offsets', numbers)] if shards else []
    return pa.schema(fields)


def describe_row(source: Source, info: dict) -> tuple[dict[str, Any], list[str]]:
    """What the index says of a sample without opening its files, and the paths of these."""
    sample_id, files = info['sample_id'], source.files(info)
    there = source.existing(info)
    kept = {k: v for k, v in info.items() if k not in ('available', 'sample_id')}
    root = source.given_root
    row: dict[str, Any] = dict(id=sample_id, info=pack(kept, sample_id, root), files=pack(files, sample_id, root))
    row |= {f'label.{name}': name in there for name in source.about['sources']}
    return row, list(dict.fromkeys(path for paths in files.values() for path in paths))


def file_states(source: Source, paths: Sequence[str]) -> tuple[list[int | None], list[int | None]]:
    """Bytes and time of change (ns) of files; None of one that is not there, or whose store does not say."""
    storage = source.dataset.storage
    sizes: list[int | None] = []
    changed: list[int | None] = []
    for path in paths:
        size = time = None
        if not storage.is_remote(path):
            if osp.isfile(path):
                state = os.stat(path)
                size, time = state.st_size, state.st_mtime_ns
        else:
            size = storage.size(path)
        sizes.append(size)
        changed.append(time)
    return sizes, changed


def digest_of(content: bytes) -> str:
    """The digest of a file that indexes keep."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _look_into(source: Source, info: dict, row: dict[str, Any], paths: Sequence[str], options: Mapping) -> None:
    """Fill in what takes opening the files."""
    dataset = source.dataset
    with dataset.files_of(info):
        if options.get('digest'):
            row['digests'] = [digest_of(read_bytes(path)) for path in paths]
        if options.get('values'):
            image = dataset.load_image(info)
            row['height'], row['width'] = image.shape[:2]
            looked = dict(info, img_size=image.shape[:2])
            values = {}
            for name, task in dataset.tasks.items():
                label = dataset.load_label(looked, name) if task.source in source.existing(info) else None
                if label is not None:
                    found = LabelValues.of(task, label)
                    counts = {str(c): n for c, n in sorted(found.classes.items())}
                    span = {} if found.low > found.high else dict(low=found.low, high=found.high, median=found.median)
                    values[name] = dict(
                        pixels=found.pixels,
                        unknown=found.unknown,
                        **(dict(classes=counts) if task.categorical else span),
                    )
            row['values'] = json.dumps(values)


def _make_part(
    outputs: dict[str, Path], source: Source, infos: list[dict], options: Mapping, before: Mapping[str, dict]
) -> None:
    """Write the rows of some samples; what was known of unchanged files is kept."""
    rows = []
    for info in infos:
        row, paths = describe_row(source, info)
        row['sizes'], row['changed'] = file_states(source, paths)
        known = before.get(row['id'], {})
        looked = [name for name in ('digests', 'values', 'height', 'width') if name in options['columns']]
        same = all(known.get(name) == row[name] for name in ('files', 'info', 'sizes', 'changed'))
        if looked and same and None not in row['changed'] and all(known.get(name) is not None for name in looked):
            row |= {name: known[name] for name in looked}
        elif looked:
            _look_into(source, info, row, paths, options)
        rows.append(row)
    pa = arrow()
    table = pa.Table.from_pylist(rows, schema=schema_of(source.about['sources'], options))
    write_atomically(outputs['rows'], lambda file: pa.parquet.write_table(table, file, compression='zstd'))


def write_index(path: str, about: dict[str, Any], tables: Iterator[Any], schema: Any) -> None:
    """Write an index whole: rows in groups, with the digest of ids and existing labels."""
    pa = arrow()
    digest = ''

    def write(file: Any) -> None:
        nonlocal digest
        with pa.parquet.ParquetWriter(file, schema, compression='zstd') as writer:
            for table in tables:
                sets = np.zeros(len(table), set_type(len(about['sources'])))
                for bit, name in enumerate(about['sources']):
                    column = table[f'label.{name}'].combine_chunks().to_numpy(zero_copy_only=False)
                    sets |= column.astype(sets.dtype) << bit
                digest = content_digest(table['id'].to_pylist(), sets, digest)
                writer.write_table(table, row_group_size=1 << 16)
            writer.add_key_value_metadata({KEY.decode(): json.dumps(dict(about, content=digest))})

    write_atomically(path, write)


def _known_rows(path: Path, about: Mapping[str, Any]) -> dict[str, dict]:
    """Rows of an earlier index, as far as its files were looked into and read as ``about`` says, by id."""
    if not path.is_file():
        return {}
    pa = arrow()
    try:
        table = pa.parquet.read_table(path)
        earlier = json.loads((pa.parquet.read_metadata(path).metadata or {})[KEY])
    except (pa.ArrowException, OSError, KeyError, ValueError):
        return {}
    read_alike = all(earlier.get(name) == about[name] for name in ('reader', 'state', 'tasks'))
    if not read_alike or not {'digests', 'values'} & set(table.column_names):
        return {}
    return {row['id']: row for row in table.to_pylist()}


def make_index(
    config: Mapping[str, Any],
    out: str,
    workers: int = 0,
    values: bool = False,
    digest: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Write the index of a data set, whole or not at all; started again, it goes on where it was stopped.

    Args:
        config: The data set's config.
        out: The ``.parquet`` file. An index that is there is refreshed: files that have not changed are not opened again.
        workers: Processes; 0 for this one alone.
        values: Also keep the image's size and what each label holds, which takes decoding it.
        digest: Also keep a digest of each file, which takes reading it.
        progress: Show a progress bar.

    Returns:
        What the index says of the data set.

    Raises:
        FileError: Files that cannot be read, where they are to be looked into: names each.
    """
    if not out.endswith('.parquet'):
        raise ConfigError(f"{out}: an index is called '*.parquet'")
    source = Source(config)
    schema = schema_of(source.about['sources'], dict(values=values, digest=digest))
    options = dict(values=values, digest=digest, columns=schema.names)
    parts = Path(f'{out}.parts')
    before = _known_rows(Path(out), source.about) if values or digest else {}
    samples, source.samples = source.samples, []  # not sent along with every part
    jobs = []
    for number, start in enumerate(range(0, len(samples), _PART)):
        infos = samples[start : start + _PART]
        key = digest_of(json.dumps([infos, source.about, options], default=str, sort_keys=True).encode())
        known = {i['sample_id']: before[i['sample_id']] for i in infos if i['sample_id'] in before}
        place = parts / f'{number:06d}-{key}.parquet'
        arguments = dict(source=source, infos=infos, options=options, before=known)
        jobs.append(Job(f'samples {start} to {start + len(infos) - 1}', dict(rows=place), arguments))
    _drop_changed(source, jobs)
    convert(_make_part, jobs, workers, progress, 'indexing')
    pa = arrow()
    tables = (pa.parquet.read_table(job.outputs['rows'], schema=schema) for job in jobs)
    write_index(out, source.about, merged(tables), schema)
    shutil.rmtree(parts, ignore_errors=True)
    return source.about


def _drop_changed(source: Source, jobs: Sequence[Job]) -> None:
    """Make parts again, left by an earlier run that was stopped, whose files have changed since."""
    pa = arrow()
    for job in jobs:
        place = job.outputs['rows']
        if place.is_file():
            rows = pa.parquet.read_table(place, columns=['id', 'files', 'sizes', 'changed']).to_pylist()
            for row in rows:
                files = unpack(row['files'], row['id'], source.given_root)
                paths = list(dict.fromkeys(path for some in files.values() for path in some))
                if file_states(source, paths) != (row['sizes'], row['changed']):
                    place.unlink()
                    break


def merged(tables: Iterator[Any], rows: int = 1 << 16) -> Iterator[Any]:
    """Tables put together to tables of at least ``rows`` rows."""
    pa = arrow()
    waiting: list[Any] = []
    for table in tables:
        waiting.append(table)
        if sum(map(len, waiting)) >= rows:
            yield pa.concat_tables(waiting)
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting)


def index_command(
    data: str | Mapping[str, Any], out: str, splits: Sequence[str], workers: int, values: bool, digest: bool
) -> list[str]:
    """Index a folder, or the data sets of a config, and say what is where.

    Returns:
        The index files: ``out``, or ``STEM_SPLIT.parquet`` (``STEM_SPLIT_N.parquet``) of several data sets.
    """
    if isinstance(data, str):
        if values:
            raise ConfigError(
                f'--values: what the labels of {data} mean is not known: give a config in place of the folder'
            )
        found = [('train', folder_source(data))]
    else:
        found = list(sources_of(data, splits))
    if not found:
        raise FileError(f'the config has no data set for {", ".join(splits)}')
    paths = []
    for number, (split, config) in enumerate(found):
        several = [s for s, _ in found].count(split) > 1
        stem = out.removesuffix('.parquet')
        path = out if len(found) == 1 else f'{stem}_{split}{f"_{number}" if several else ""}.parquet'
        about = make_index(config, path, workers, values, digest)
        paths.append(path)
        print(
            f'{split}: {about["rows"]} samples of {about["reader"]["type"]} with labels {", ".join(about["sources"])}: '
            f"dict(type='IndexedDataset', index={path!r})"
        )
        for remark in about['remarks']:
            print(f'warning: {remark}')
    return paths
