"""Records of more images than fit into memory: every process writes parts, which are put together on disk."""

from __future__ import annotations

import errno
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dist import all_gather_object, get_rank, is_main_process

from mmmtl.errors import StorageError
from mmmtl.utils.files import write_atomically

from .base import TaskMetric
from .records import Records, config_text
from .states import Key, StateFile

BLOCK = 2048
"""Images of a part."""


def write_records(
    path: str,
    states: StateFile,
    own: Sequence[str],
    metrics: Mapping[str, Sequence[TaskMetric]],
    configs: Mapping[str, Sequence[Mapping[str, Any]]],
) -> OSError | None:
    """Write the records of all processes to one file; every process calls this. No process holds more than a part.

    Args:
        path: The file (``.npz``). Its folder is one for all processes; parts lie in ``PATH.parts`` meanwhile.
        states: What this process has measured.
        own: The images of it that this process counts.
        metrics: The metrics of every task.
        configs: Their configs, which go into the file.

    Returns:
        What went wrong, in the first process; what was measured is worth more than its details.
    """
    folder = Path(f'{path}.parts')
    names: list[str] = []
    failed: OSError | None = None
    try:
        for start in range(0, len(own), BLOCK):
            part = Records.collect(states.read(own[start : start + BLOCK]), metrics)
            names.append(f'{get_rank()}-{start // BLOCK}.npz')
            part.save(str(folder / names[-1]), compress=False)
    except OSError as error:
        failed = error
    everyone = all_gather_object((names, failed and str(failed)))
    if not is_main_process():
        return None
    try:
        wrong = failed or next((StorageError(errno.EIO, text) for _, text in everyone if text), None)
        if wrong is not None:
            return wrong
        parts = [folder / name for written, _ in everyone for name in written]
        lost = next((part for part in parts if not part.is_file()), None)
        if lost is not None:
            return StorageError(
                errno.ENOENT,
                f'{lost}, which another process has written, is not there: the folder of the records must be '
                'one for all machines',
            )
        merge_parts(parts, configs, path)
    except OSError as error:
        return error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None


def merge_parts(parts: Sequence[Path], configs: Mapping[str, Sequence[Mapping[str, Any]]], path: str) -> None:
    """Join parts into one file of records, sorted by sample id; arrays are put together on disk, one after the other."""
    keys: dict[Key, list[Path]] = {}
    for part in parts:
        with np.load(part, allow_pickle=False) as file:
            for name in file.files:
                if name.endswith('|'):
                    task, index, _ = name.split('|')
                    keys.setdefault((task, int(index)), []).append(part)
    arrays: dict[str, Any] = {'configs': np.array(config_text(configs))}
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=Path(path).parent, prefix='.records-') as scratch:
        for number, ((task, index), files) in enumerate(keys.items()):
            stem = f'{task}|{index}|'
            ids = np.concatenate([_array(file, stem) for file in files])
            order = np.argsort(ids, kind='stable')
            target = np.empty(len(ids), np.int64)
            target[order] = np.arange(len(ids))
            arrays[stem] = _kept(ids[order], Path(scratch) / f'{number}.npy')
            del ids, order
            for name in _fields(files[0], stem):
                place = Path(scratch) / f'{number}-{len(arrays)}.npy'
                arrays[f'{stem}{name}'] = _joined(files, f'{stem}{name}', target, place)
        write_atomically(path, lambda file: np.savez_compressed(file, **arrays))
        arrays.clear()


def _array(file: Path, name: str) -> np.ndarray:
    with np.load(file, allow_pickle=False) as content:
        return content[name]


def _fields(file: Path, stem: str) -> list[str]:
    with np.load(file, allow_pickle=False) as content:
        return [name[len(stem) :] for name in content.files if name.startswith(stem) and name != stem]


def _kept(array: np.ndarray, place: Path) -> np.ndarray:
    """The array on disk."""
    np.save(place, array, allow_pickle=False)
    return np.load(place, mmap_mode='r', allow_pickle=False)


def _joined(files: Sequence[Path], name: str, target: np.ndarray, place: Path) -> np.ndarray:
    """The rows of one array out of all parts, at their places, on disk."""
    first, kinds = _array(files[0], name), {_array(file, name).dtype for file in files}
    joined = np.lib.format.open_memmap(
        str(place), mode='w+', dtype=np.result_type(*kinds), shape=(len(target), *first.shape[1:])
    )
    start = 0
    for file in files:
        rows = _array(file, name)
        joined[target[start : start + len(rows)]] = rows
        start += len(rows)
    joined.flush()
    del joined
    return np.load(place, mmap_mode='r', allow_pickle=False)
