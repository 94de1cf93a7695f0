"""Where an evaluation keeps what single images contributed: on disk, so that memory does not grow with their number."""

from __future__ import annotations

import os
import struct
import tempfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from safetensors.numpy import load, save

Key = tuple[str, int]  # a task's name and the index of its metric
_HEADER = struct.Struct('<III')  # lengths of id and data, checksum of both


class StateFile:
    """States of the metrics by sample id; memory holds only the ids and their places.

    Args:
        path: File that outlives an interruption: what it holds of an earlier run is kept, up to the first entry that was
            not written to its end. Default: a temporary file without a name.
    """

    def __init__(self, path: str | None = None) -> None:
        self.path = path
        self._places: dict[str, tuple[int, int]] = {}
        if path is None:
            self._file: IO[bytes] = tempfile.TemporaryFile(prefix='mmmtl-states-')
        else:
            os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
            self._file = open(path, 'a+b')  # noqa: SIM115 - closed by close()
            self._find_entries()

    def _find_entries(self) -> None:
        end, size = 0, self._file.seek(0, os.SEEK_END)
        while end + _HEADER.size <= size:
            self._file.seek(end)
            name_length, length, checksum = _HEADER.unpack(self._file.read(_HEADER.size))
            start = end + _HEADER.size + name_length
            if start + length > size:
                break
            name, data = self._file.read(name_length), self._file.read(length)
            if zlib.crc32(name + data) != checksum:
                break
            self._places[name.decode()] = (start, length)
            end = start + length
        self._file.truncate(end)

    def ids(self) -> list[str]:
        """Sample ids in the order they came."""
        return list(self._places)

    def write(self, sample_id: str, record: Mapping[Key, Mapping[str, np.ndarray]]) -> None:
        """Append the states of a new sample."""
        arrays = {
            f'{index}|{task}|{name}': np.asarray(value, order='C')
            for (task, index), state in record.items()
            for name, value in state.items()
        }
        name, data = sample_id.encode(), zlib.compress(save(arrays), 1)
        start = self._file.seek(0, os.SEEK_END) + _HEADER.size + len(name)
        self._file.write(_HEADER.pack(len(name), len(data), zlib.crc32(name + data)) + name + data)
        if self.path is not None:
            self._file.flush()
        self._places[sample_id] = (start, len(data))

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, dict[Key, dict[str, np.ndarray]]]]:
        """States of ``ids``, one sample at a time."""
        for sample_id in ids:
            start, length = self._places[sample_id]
            self._file.seek(start)
            record: dict[Key, dict[str, np.ndarray]] = {}
            for key, array in load(zlib.decompress(self._file.read(length))).items():
                index, task, name = key.split('|', 2)
                record.setdefault((task, int(index)), {})[name] = array
            yield sample_id, record

    def close(self) -> None:
        """Close and delete the file."""
        self._file.close()
        if self.path is not None:
            Path(self.path).unlink(missing_ok=True)  # another process may have cleared the folder
