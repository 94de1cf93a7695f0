"""Data sets of the ``datasets`` library: from the Hugging Face hub, from Parquet files, or saved by the library itself."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.guard import reading
from mmmtl.datasets.io.pictures import read_image
from mmmtl.datasets.io.stored_labels import StoredLabels, label_examples
from mmmtl.datasets.io.values import spread
from mmmtl.errors import ConfigError, FileError, NotFoundError, suggest
from mmmtl.registry import DATASETS
from mmmtl.tasks import Task
from mmmtl.utils.optional import require

from .base import MTLDataset

_MAGIC = {
    b'\xff\xd8\xff': '.jpg',
    b'\x93NUMPY': '.npy',
    b'II*\0': '.tif',
    b'MM\0*': '.tif',
    b'PIEH': '.flo',
    b'Pf': '.pfm',
    b'PF': '.pfm',
    b'\x76\x2f\x31\x01': '.exr',
}
"""Beginnings of files whose kind decides how their numbers are read; others are pictures."""


def require_datasets() -> Any:
    """The library ``datasets``; an ``ImportError`` says how it is installed."""
    return require('datasets', 'HubDataset needs the library datasets', 'hub', ImportError)


@DATASETS.register_module()
class HubDataset(MTLDataset):
    """Rows of a table of the ``datasets`` library, with photographs and labels in columns.

    A label may be a picture (a column of the feature ``Image``, or of bytes), or an array (``Array2D``, lists). A row has
    the labels whose cells are not empty. Of a row, only the cells of visible labels are read and decoded.

    Args:
        tasks: ``{task name: config or Task}``.
        path: A name on the hub, a folder or file of Parquet, or a folder that ``save_to_disk`` wrote. No script of a data
            set is run.
        split: Split of it.
        columns: ``dict(image='image', depth='depth_map')``: the column of the photographs, of the second frames
            (``next_image``), and of each task's label.
        name: Configuration of a data set that has several.
        revision: Branch, tag or commit on the hub.
        id_column: Column of the samples' names; default: the number of the row.
        formats: What the stored numbers mean, by task, as for :class:`~mmmtl.datasets.folder.FolderDataset`.
        white_point: The number that is white in photographs of more than 8 bits; default: the largest of their type.
        upright: Turn photographs as their EXIF orientation says.
        cache_dir: Where the library keeps what it downloads; default: its own cache.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        path: str,
        columns: Mapping[str, str],
        split: str = 'train',
        name: str | None = None,
        revision: str | None = None,
        id_column: str | None = None,
        formats: Mapping[str, Mapping] | None = None,
        white_point: float | None = None,
        upright: bool = True,
        cache_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        self.place, self.name, self.revision, self.cache_dir = str(path), name, revision, cache_dir
        self.white_point, self.upright, self.id_column = white_point, bool(upright), id_column
        known = ('image', 'next_image', *tasks)
        if not isinstance(columns, Mapping) or 'image' not in columns:
            raise ConfigError(
                f"HubDataset.columns: expected dict(image='COLUMN', TASK='COLUMN'), found {columns!r:.80}"
            )
        for key in (*columns, *(formats or {})):
            if key not in known:
                raise ConfigError(
                    f"HubDataset: '{key}' in columns or formats is none of image, next_image and the tasks {list(tasks)}."
                    f'{suggest(key, known)}'
                )
        self.columns = dict(columns)
        self.formats = {task: dict(form) for task, form in (formats or {}).items()}
        self.views: dict[str, Any] = {}
        self.stored: dict[str, StoredLabels] = {}
        super().__init__(tasks, split=split, **kwargs)

    # ---- the table -------------------------------------------------------------------------------------------------
    def _open(self) -> Any:
        """The table of the split."""
        library = require_datasets()
        place = Path(self.place).expanduser()
        try:
            if (place / 'state.json').is_file() or (place / 'dataset_dict.json').is_file():
                table = library.load_from_disk(str(place))
            elif place.is_file():
                kind = {'.arrow': 'arrow'}.get(place.suffix, 'parquet')
                files = {self.split: str(place)}
                table = library.load_dataset(kind, data_files=files, split=self.split, cache_dir=self.cache_dir)
            else:
                table = library.load_dataset(
                    str(place) if place.is_dir() else self.place,
                    self.name,
                    split=self.split,
                    revision=self.revision,
                    cache_dir=self.cache_dir,
                )
        except Exception as error:  # the library's, the hub's client's and the transport's own kinds
            reason = str(error).strip().split('\n')[0][:300]
            raise NotFoundError(
                f"HubDataset: split '{self.split}' of '{self.place}' cannot be opened ({type(error).__name__}: {reason}). "
                'Without a network, fetch it elsewhere (hf download OWNER/NAME --repo-type dataset --local-dir DIR) and say '
                'path=DIR'
            ) from error
        if isinstance(table, library.DatasetDict):
            if self.split not in table:
                raise NotFoundError(
                    f"HubDataset: '{self.place}' has no split '{self.split}', it has {list(table)}."
                    f'{suggest(self.split, table)}'
                )
            table = table[self.split]
        return table.flatten_indices() if table._indices is not None else table

    def _view(self, table: Any, column: str) -> Any:
        """One column alone, whose pictures stay undecoded."""
        library = require_datasets()
        if column not in table.column_names:
            raise ConfigError(
                f"HubDataset.columns: '{self.place}' has no column '{column}', it has {table.column_names}."
                f'{suggest(column, table.column_names)}'
            )
        view = table.select_columns([column])
        if isinstance(table.features[column], library.Image):
            view = view.cast_column(column, library.Image(decode=False))
        return view.with_format(None)

    def list_samples(self) -> list[dict]:
        table = self._open()
        self.views = {key: self._view(table, column) for key, column in self.columns.items()}
        for name, task in self.tasks.items():
            if name in self.columns:
                where = f"HubDataset.formats['{name}']"
                self.stored[name] = StoredLabels(
                    where, task, self.formats.get(name, {}), self._where(name), self.upright
                )
        ids = self._ids(table)
        there = {key: _filled(table, column) for key, column in self.columns.items()}
        lost = [ids[row] for row in np.flatnonzero(~there['image'])[:3]]
        if lost:
            raise FileError(
                f'{self._where("image")}: no photograph in row {lost[0]} (and {(~there["image"]).sum() - 1} more)'
            )
        samples = []
        for row, sample_id in enumerate(ids):
            labels = tuple(self.tasks[n].source for n in self.stored if there[n][row])
            info = dict(sample_id=sample_id, img_path=self._where('image', row), row=row, available=labels)
            if 'next_image' in there and there['next_image'][row]:
                info['next_path'] = self._where('next_image', row)
            samples.append(info)
        return samples

    def load_data_list(self) -> list[dict]:
        samples = super().load_data_list()
        for name, stored in self.stored.items():  # what is looked at is visible
            rows = [s['row'] for s in samples if name in self.labels[s['sample_id']]]
            with contextlib.suppress(FileError), self._files(name, *spread(rows, 16)) as files:  # named when it is read
                stored.infer(label_examples(files))
        return samples

    def _ids(self, table: Any) -> list[str]:
        """The samples' names."""
        if self.id_column is None:
            return [f'{row:0{len(str(len(table)))}d}' for row in range(len(table))]
        return [str(value) for value in self._view(table, self.id_column)[self.id_column]]

    def _where(self, key: str, row: int | None = None) -> str:
        """A column or a cell, for messages."""
        place = f"{self.place}[{self.split}] column '{self.columns.get(key, key)}'"
        return place if row is None else f'{place} row {row}'

    # ---- cells -----------------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def _files(self, key: str, *rows: int) -> Iterator[list[Path]]:
        """Cells as files in memory, which the readers of files take; their messages name the cells."""
        found: dict[str, bytes] = {}
        for row in rows:
            where = self._where(key, row)
            content = _content(self.views[key][row][self.columns[key]])
            if content is None:
                raise FileError(f'{where}: expected a picture or an array of numbers, found neither')
            suffix = next((s for magic, s in _MAGIC.items() if content.startswith(magic)), '')
            found[str(Path(where + suffix))] = content
        with self.storage.use({}, fetched=found):
            yield [Path(path) for path in found]

    def load_image(self, info: dict) -> np.ndarray:
        with self._files('image', info['row']) as (path,):
            return read_image(path, self.upright, self.white_point)

    def load_next_image(self, info: dict) -> np.ndarray:
        with self._files('next_image', info['row']) as (path,):
            return read_image(path, self.upright, self.white_point)

    def sources(self) -> list[str]:
        return sorted({self.tasks[name].source for name in self.columns if name in self.tasks})

    def label_file(self, info: dict, source: str) -> str:
        key = next((name for name, task in self.tasks.items() if task.source == source), source)
        return self._where(key, info['row'])

    def read_label(self, info: dict, task: Task) -> np.ndarray | None:
        if task.source not in info['available']:
            return None
        with self._files(task.name, info['row']) as (path,):
            return self.stored[task.name].read(path)


def _content(cell: Any) -> bytes | None:
    """What a cell holds as the content of a file, or None if it is neither a picture nor an array of numbers."""
    if isinstance(cell, Mapping) and set(cell) <= {'bytes', 'path'}:
        if cell.get('bytes') or not cell.get('path'):
            return cell.get('bytes')
        with reading(cell['path'], 'a picture'):
            return Path(cell['path']).read_bytes()
    if isinstance(cell, (bytes, bytearray)):
        return bytes(cell)
    if isinstance(cell, (list, np.ndarray)):
        with contextlib.suppress(ValueError):
            array = np.asarray(cell)
            if array.dtype.kind in 'biuf':
                data = io.BytesIO()
                np.save(data, array, allow_pickle=False)
                return data.getvalue()
    return None


def _filled(table: Any, column: str) -> np.ndarray:
    """Which cells of a column are not empty."""
    import pyarrow as pa
    import pyarrow.compute as pc

    cells = table.data.column(column)
    filled = pc.is_valid(cells)
    if pa.types.is_struct(cells.type):
        parts = [pc.is_valid(pc.struct_field(cells, f.name)) for f in cells.type if f.name in ('bytes', 'path')]
        for part in parts[1:]:
            parts[0] = pc.or_(parts[0], part)
        filled = pc.and_(filled, parts[0]) if parts else filled
    return np.asarray(filled.to_numpy(zero_copy_only=False) if hasattr(filled, 'to_numpy') else filled, bool)
