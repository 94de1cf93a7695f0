"""The data sets that are indexed or put into shards: found in a config or a folder, listed, described."""

from __future__ import annotations

import json
import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.base import MTLDataset
from mmmtl.datasets.hub_dataset import HubDataset
from mmmtl.datasets.index_file import VERSION
from mmmtl.datasets.indexed import IndexedDataset
from mmmtl.datasets.io.addresses import address
from mmmtl.datasets.io.folders import IMAGE_SUFFIXES
from mmmtl.datasets.io.storage import Storage
from mmmtl.errors import ConfigError, NotFoundError
from mmmtl.registry import DATASETS

from .prepare import leaves

_OF_THE_RUN = (
    'type tasks pipeline label_sampler label_map_out drop_unlabelled leak_labels_to_crop allow_unlabelled indices test_mode '
    'seed frames metainfo lazy_init max_unreadable backend_args data_root'
).split()
"""Arguments of a data set that belong to a run and are not kept in an index (``split`` is: readers may name files by it)."""


def sources_of(cfg: Mapping[str, Any], splits: Sequence[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """(split, config) of every data set of a config's loaders, each once; wrapped data sets are unwrapped."""
    seen: list[dict] = []
    for split in splits:
        loader = cfg.get(f'{split}_dataloader')
        for config in leaves(loader['dataset']) if loader else ():
            kept = {k: v for k, v in config.items() if k not in ('pipeline', 'label_sampler', 'indices')}
            if kept not in seen:
                seen.append(kept)
                yield split, kept


def folder_source(root: str, backend_args: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The config of a folder in the form of ``FolderDataset``: a task for every folder beside ``images``."""
    storage = Storage(backend_args)
    if storage.is_remote(root):
        names = {path.partition('/')[0] for path in storage.find(root) if '/' in path}
    else:
        names = {p.name for p in Path(root).iterdir() if p.is_dir()} if Path(root).is_dir() else set()
    if 'images' not in names:
        raise NotFoundError(
            f'{root}: expected a config, or a folder with a folder images of {", ".join(IMAGE_SUFFIXES[:3])}, ..., found '
            f'{sorted(names)}'
        )
    # any kind of task will do, of a range that numbers of pictures have: what labels hold is not looked at
    tasks = {name: dict(type='Shading', source=name) for name in sorted(names - {'images'}) if not name.startswith('.')}
    return dict(type='FolderDataset', data_root=root, tasks=tasks, backend_args=backend_args)


class Source:
    """A data set that is being indexed: its samples as they are listed, and what its index says of it.

    Args:
        config: The data set's config.

    Raises:
        ConfigError: A data set that is a table or an index already, or whose loaders need what listing leaves behind and
            its ``reader_state`` does not hold.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        kind = DATASETS.get(config['type']) if isinstance(config['type'], str) else config['type']
        if issubclass(kind, IndexedDataset):
            raise ConfigError(f'{config["index"]!r} is an index already: give the data set that it was made of')
        if issubclass(kind, HubDataset):
            raise ConfigError(
                f'{kind.__name__} ({config.get("path")!r}): its labels are cells of a table, not files, and the table is read '
                'without a walk as it is: train from it directly, or write its cells as files and index a FolderDataset'
            )
        kept = {k: v for k, v in config.items() if k not in ('pipeline', 'label_sampler', 'label_map_out', 'indices')}
        self.dataset: MTLDataset = DATASETS.build(dict(kept, pipeline=[], allow_unlabelled=True, lazy_init=True))
        before = _state(self.dataset)
        self.samples = self.dataset.checked_samples()
        with self.dataset.storage.use():
            state = self.dataset.reader_state()
        left = sorted(name for name, value in _state(self.dataset).items() if before.get(name) != value)
        if left and type(self.dataset).reader_state is MTLDataset.reader_state:
            raise ConfigError(
                f'{kind.__name__}: list_samples leaves {left} in the data set, which loaders may need and an index does not '
                f'hold: give the class reader_state and restore_reader, or put it into the descriptions of the samples'
            )
        root = self.dataset.data_root or ''
        root = root if not root or self.dataset.storage.is_remote(root) else osp.abspath(root)
        reader = {k: _plain(v, f'{kind.__name__}.{k}') for k, v in config.items() if k not in _OF_THE_RUN}
        self.given_root = self.dataset.data_root or ''
        asked = {task.source for task in self.dataset.tasks.values()}
        self.about = dict(
            version=VERSION,
            reader=dict(reader, type=kind.__name__),
            root=root or None,
            split=self.dataset.split,
            state=state,
            remarks=self.dataset.remarks,
            tasks=json.dumps(config['tasks'], default=repr, sort_keys=True),
            sources=[name for name in self.dataset.sources() if name in asked],
            pairs=all('next_path' in info for info in self.samples),
            rows=len(self.samples),
        )

    def existing(self, info: dict) -> list[str]:
        """Sources whose label a sample has, of those of the data set's tasks."""
        return [name for name in self.about['sources'] if name in info.get('available', (name,))]

    def files(self, info: dict) -> dict[str, list[str]]:
        """The files of a sample: ``{'image': [...], source: [...]}``."""
        with self.dataset.storage.use():
            found = dict(image=[address(p) for p in self.dataset.image_files(info)])
            for source in self.existing(info):
                labels = [address(p) for p in self.dataset.label_files(info, source)]
                found[source] = found.get(source, []) + labels  # a label may be called 'image'
        return {kind: paths for kind, paths in found.items() if paths}


def _plain(value: Any, where: str) -> Any:
    """An argument as JSON has it; a dictionary whose keys are no text, such as colours, as a list of pairs."""
    if isinstance(value, Mapping):
        pairs = [(k, _plain(v, where)) for k, v in value.items()]
        return dict(pairs) if all(isinstance(k, str) for k, _ in pairs) else [[_plain(k, where), v] for k, v in pairs]
    if isinstance(value, (list, tuple)):
        return [_plain(v, where) for v in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ConfigError(f'{where}: {value!r:.80} cannot be kept in an index: give numbers, text, lists and dictionaries')


def _state(dataset: MTLDataset) -> dict[str, str]:
    """What a data set holds, as text for comparison."""
    left_out = ('remarks', 'storage', 'unreadable', 'pipeline')
    return {name: _text(value) for name, value in vars(dataset).items() if name not in left_out}


def _text(value: Any) -> str:
    """A value with all that it holds."""
    if isinstance(value, Mapping):
        return f'{{{", ".join(f"{k!r}: {_text(v)}" for k, v in value.items())}}}'
    if isinstance(value, (list, tuple, set, frozenset)):
        return f'{type(value).__name__}({", ".join(map(_text, value))})'
    return repr(value.tolist()) if isinstance(value, np.ndarray) else repr(value)
