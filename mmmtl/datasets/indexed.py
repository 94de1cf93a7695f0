"""A data set read from its index: nothing is listed, no description of a sample stays in memory."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import DATASETS, look_up
from mmmtl.tasks import Task

from .base import MTLDataset
from .checks import check_indices, check_labels, check_pairs
from .index_file import IndexFile
from .label_columns import set_type
from .label_samplers import save_label_map

_COMPARED = 100_000
"""Ids up to which they are compared with those of other data sets beside this one."""


@DATASETS.register_module()
class IndexedDataset(MTLDataset):
    """The samples of an index made by ``mmmtl index`` or ``mmmtl shard``: those of the data set, same ids and order.

    The index names the data set that it was made from, and that reads the files (the ``reader``). Columns are mapped into
    memory, and what the label sampler decides is kept beside the index; a process holds neither ids nor labels.

    Several indexes make a :class:`~mmmtl.datasets.MixedDataset` of one ``IndexedDataset`` each.

    Args:
        index: The index file, or a folder of shards, local or remote; or a list of these, or of
            ``dict(index=..., weight=..., ...)`` with arguments that hold for that one alone (``reader``, ``data_root``,
            ``tasks``, ``label_sampler``, ...).
        tasks: ``{task name: config or Task}``.
        reader: Arguments of the data set that reads the files, in place of those kept in the index. They say how files are
            read; which files, the index says.
        data_root: Where the files are now; default: where they were when the index was made.
        **kwargs: See :class:`MTLDataset`; ``split`` is that of the index.
    """

    _fully_initialized: bool
    _metainfo: dict
    data_root: Any

    def __new__(cls, index: Any = None, *args: Any, **kwargs: Any) -> Any:
        if index is None or isinstance(index, (str, Mapping)):
            return super().__new__(cls)
        from .mixed import MixedDataset

        if args:
            kwargs['tasks'] = args[0]
        lazy = kwargs.pop('lazy_init', False)
        parts = [dict(one) if isinstance(one, Mapping) else dict(index=one) for one in index]
        given = [part.pop('weight', None) for part in parts]
        if any(w is not None for w in given) and None in given:
            raise ConfigError(f'IndexedDataset: give every index a weight, or none; got {given}')
        weights = None if None in given else given
        return MixedDataset([cls(**{**kwargs, **part, 'lazy_init': lazy}) for part in parts], lazy, weights)

    def __init__(
        self,
        index: str | Mapping[str, Any] | Sequence[str | Mapping[str, Any]],
        tasks: Mapping[str, Any],
        reader: Mapping[str, Any] | None = None,
        data_root: str = '',
        **kwargs: Any,
    ) -> None:
        if not isinstance(index, str):
            raise ConfigError(f'IndexedDataset.index: expected a path, or a list of indexes, got {index!r:.80}')
        self.index_path, self.reader_changes = index, dict(reader or {})
        super().__init__(tasks, data_root, **kwargs)

    # ---- opening ---------------------------------------------------------------------------------------------------
    def full_init(self) -> None:
        """Open the index; decide the labels, or read what was decided."""
        if self._fully_initialized:
            return
        self.index = IndexFile(self.index_path, self.storage)
        about = self.index.about
        self.split = about['split']
        self.data_root = self.data_root or about['root']
        self.reader = self._build_reader(about)
        self.remarks += [remark for remark in about.get('remarks', ()) if remark not in self.remarks]
        if self.gives_pairs() and not about['pairs']:
            check_pairs(self, self.index.sample_id(0))
        self._sets = self._decide()
        self._places = self._chosen_places()
        self._fully_initialized = True
        self.tell_remarks()
        self.unreadable.watch(len(self))
        if self.label_map_out:
            about = dict(sampler=type(self.label_sampler).__name__, seed=self.label_sampler.seed, split=self.split)
            save_label_map(self.labels, self.label_map_out, list(self.tasks), about)

    def _build_reader(self, about: Mapping[str, Any]) -> MTLDataset:
        """The data set that reads the files, without its list of samples."""
        kind = cast(
            type[MTLDataset], look_up(DATASETS, self.reader_changes.get('type', about['reader']['type']), MTLDataset)
        )
        given = {**kind.reader_arguments(about['reader'], self._earlier_names(about)), **self.reader_changes}
        given.pop('type', None)
        if about['root'] is not None:
            given['data_root'] = self.data_root
        built = kind(tasks=self.tasks, frames=self.frames, lazy_init=True, **given)
        with self.storage.use():
            built.restore_reader(about['state'])
        self._metainfo = {**built._metainfo, **self._metainfo}
        for name, task in self.tasks.items():
            if task.source not in self.index.sources and self.allow_unlabelled is not True:
                if name not in (self.allow_unlabelled or ()):
                    raise ConfigError(
                        f"{self.index.path}: tasks['{name}']: the index says nothing of labels '{task.source}', only of "
                        f'{self.index.sources}.{suggest(task.source, self.index.sources)} Make it again with that task, or '
                        f"say allow_unlabelled=('{name}',)"
                    )
        return built

    def _earlier_names(self, about: Mapping[str, Any]) -> dict[str, str]:
        """What the tasks were called when the index was made: their labels have kept their names."""
        earlier = {
            name: task.get('source') or name if isinstance(task, Mapping) else name
            for name, task in json.loads(about['tasks']).items()
        }
        found = {}
        for name, task in self.tasks.items():
            alike = [other for other, source in earlier.items() if source == task.source]
            found[name] = name if name in alike or not alike else alike[0]
        return found

    def _decide(self) -> np.ndarray:
        """(n,) sets of the labelled tasks, by the label sampler or from the cache."""
        names, sources = list(self.tasks), [task.source for task in self.tasks.values()]
        sampler = self.label_sampler

        def decide() -> np.ndarray:
            available = self.index.available(sources)
            chosen = sampler.assign_columns(self.index.ids(), available, names)
            return chosen.astype(set_type(len(names)), copy=False)

        key = sampler.key() if type(sampler).__module__.startswith('mmmtl.') else None
        if key is not None:
            key = dict(key, sampler=type(sampler).__name__, tasks=names, sources=sources)
        sets = decide() if key is None else self.index.cached('labels', key, decide)

        def unions() -> np.ndarray:
            return np.array([_union(self.index.available(sources)), _union(sets)], np.uint64)

        # kept, too, so that opening touches no column
        both = unions() if key is None else self.index.cached('unions', key, unions)
        there, chosen = (self._names(int(kinds)) for kinds in both)
        check_labels(self, len(sets), there, chosen)
        self._key = key
        return sets

    def _names(self, kinds: int) -> tuple[str, ...]:
        return tuple(name for bit, name in enumerate(self.tasks) if kinds >> bit & 1)

    def _column(self, name: str, key: Mapping[str, Any], mask: Any) -> np.ndarray:
        """Places where ``mask()`` is true, from the cache where the labels are kept, too."""

        def places() -> np.ndarray:
            return np.flatnonzero(mask()).astype(np.uint32 if len(self.index) < 2**32 else np.int64)

        return places() if self._key is None else self.index.cached(name, dict(self._key, **key), places)

    def _chosen_places(self) -> np.ndarray | range:
        """Rows of the samples, in order."""
        places: Any = range(len(self.index))
        if self.drop_unlabelled:
            places = self._column('kept', dict(kept=True), lambda: self._sets != 0)
        check_indices(self, self._indices, len(places))
        if self._indices is None:
            return places
        if isinstance(self._indices, int):
            return places[: self._indices] if self._indices >= 0 else places[self._indices :]
        return np.array([places[k] for k in self._indices], np.int64)

    def __getstate__(self) -> dict[str, Any]:
        opened = ('index', 'reader', '_sets', '_places')  # opened again from the mapped files, not sent along
        state = {k: v for k, v in self.__dict__.items() if k not in opened}
        return dict(state, _fully_initialized=False)

    # ---- samples and labels ----------------------------------------------------------------------------------------
    def __len__(self) -> int:
        self.full_init()
        return len(self._places)

    def get_data_info(self, idx: int) -> dict:
        """The description of a sample; ``members`` says where its files are in the shards, if they are."""
        self.full_init()
        row = int(self._places[int(idx)])
        root = self.data_root or ''
        info = self.index.info(row, root)
        members = self.index.members(row, root)
        info['sample_idx'] = int(idx) % len(self)
        return info if members is None else dict(info, members=members)

    @property
    def compares_ids(self) -> bool:
        return len(self) <= _COMPARED

    def visible(self, index: int) -> tuple[str, ...]:
        self.full_init()
        return self.visible_of_row(int(self._places[int(index)]))

    def visible_of_row(self, row: int) -> tuple[str, ...]:
        """The tasks whose label is used, by the row in the index."""
        self.full_init()
        return self._names(int(self._sets[row]))

    def labelled(self, task: str) -> np.ndarray:
        self.full_init()
        bit = list(self.tasks).index(task)
        if isinstance(self._places, range):
            return self._column('task', dict(task=task), lambda: self._sets >> bit & 1)
        return np.flatnonzero(self._sets[self._places] >> bit & 1)

    @property
    def labels(self) -> dict[str, tuple[str, ...]]:  # type: ignore[override]
        """``{sample id: labelled tasks}``, made each time it is asked for."""
        self.full_init()
        rows = zip((i.decode() for part in self.index.ids().parts() for i in part), self._sets.tolist())
        return {i: self._names(kinds) for i, kinds in rows}

    @labels.setter
    def labels(self, value: Any) -> None:
        """Decided by the columns alone."""

    @property
    def metainfo(self) -> dict:
        self.full_init()
        return dict(self._metainfo, tasks=self.tasks, dataset=type(self.reader).__name__)

    # ---- what the reader does --------------------------------------------------------------------------------------
    def sources(self) -> list[str]:
        return self.index.sources

    def load_image(self, info: dict) -> np.ndarray:
        return self.reader.load_image(info)

    def load_next_image(self, info: dict) -> np.ndarray:
        return self.reader.load_next_image(info)

    def label_file(self, info: dict, source: str) -> str:
        return self.reader.label_file(info, source)

    def image_files(self, info: dict) -> list[str]:
        return self.reader.image_files(info)

    def label_files(self, info: dict, source: str) -> list[str]:
        return self.reader.label_files(info, source)

    def read_label(self, info: dict, task: Task) -> np.ndarray | None:
        return self.reader.read_label(info, task)

    def derive(self, info: dict) -> Any:
        return self.reader.derive(info)

    def finish_derived(self, notes: Mapping[str, Any]) -> None:
        self.reader.finish_derived(notes)


def _union(sets: np.ndarray) -> int:
    """The tasks that are in any of the sets."""
    return int(np.bitwise_or.reduce(sets)) if len(sets) else 0
