"""Where an evaluation keeps what single images contributed: on disk, so that memory does not grow with their number."""

from __future__ import annotations

import pickle
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from typing import Any


class StateFile:
    """Records by sample id in an unnamed temporary file; memory holds only the ids and their places."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix='mmmtl-states-')
        self._places: dict[str, tuple[int, int]] = {}

    def __contains__(self, sample_id: str) -> bool:
        return sample_id in self._places

    def __len__(self) -> int:
        return len(self._places)

    def ids(self) -> list[str]:
        """Sample ids in the order they came."""
        return list(self._places)

    def write(self, sample_id: str, record: Any) -> None:
        """Append the record of a new sample."""
        data = zlib.compress(pickle.dumps(record, pickle.HIGHEST_PROTOCOL), 1)
        self._places[sample_id] = (self._file.seek(0, 2), len(data))
        self._file.write(data)

    def read(self, ids: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Records of ``ids``, one at a time."""
        for sample_id in ids:
            start, length = self._places[sample_id]
            self._file.seek(start)
            yield sample_id, pickle.loads(zlib.decompress(self._file.read(length)))

    def close(self) -> None:
        """Delete the file."""
        self._file.close()
