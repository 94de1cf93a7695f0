"""Shards read from beginning to end by the package ``webdataset``, for stores that give no ranges of files."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from torch.utils.data import Dataset

from mmmtl.errors import ConfigError
from mmmtl.registry import DATASETS
from mmmtl.tasks import Task

from .indexed import IndexedDataset
from .io.addresses import join


@DATASETS.register_module()
class ShardStream(Dataset):
    """The samples of a set of shards in the order of a stream: whole shards are read, shuffled within a buffer.

    Every worker of every process reads shards of its own, without end. An index that a sampler gives says which draw of the
    augmentation is meant, not which sample: the order is that of the stream, and a resumed run starts a new stream.
    Everything in a shard is transferred; hidden labels are not decoded.

    Args:
        index: The index of the shards, or their folder; it is read whole, too.
        tasks: ``{task name: config or Task}``.
        shuffle: Samples of the buffer that the next one is drawn from; 0 for the shards' own order.
        seed: Seed of the order, and of the augmentation.
        **kwargs: See :class:`IndexedDataset`.

    Raises:
        ConfigError: An index without shards, or fewer shards than workers.
    """

    def __init__(self, index: str, tasks: Mapping[str, Any], shuffle: int = 1000, seed: int = 0, **kwargs: Any) -> None:
        self.dataset = IndexedDataset(index, tasks, seed=seed, **kwargs)
        self.shuffle, self.seed = int(shuffle), int(seed)
        self._stream: Iterator[dict[str, Any]] | None = None
        self.tasks: dict[str, Task] = self.dataset.tasks
        about = self.dataset.index.about
        if 'shards' not in about:
            raise ConfigError(f'ShardStream: {index} is an index of loose files: mmmtl shard CONFIG makes shards')
        for name in ('indices', 'test_mode'):
            if kwargs.get(name):
                raise ConfigError(f'ShardStream takes no {name}: a stream has no places and no end: use IndexedDataset')
        self.shards = [(join(self.dataset.index.folder, s['name']), s['samples']) for s in about['shards']]

    @property
    def metainfo(self) -> dict:
        """That of the data set in the shards."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Nothing is left to be read."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getstate__(self) -> dict[str, Any]:
        return dict(self.__dict__, _stream=None)

    def __getitem__(self, idx: int) -> Any:
        if getattr(idx, 'tasks', ()):
            raise ConfigError(
                'ShardStream: a stream cannot be asked for tasks (TaskCycleBatchSampler): use IndexedDataset'
            )
        if self._stream is None:
            self._stream = self._passes(getattr(idx, 'draw', 0) // len(self))  # workers that start anew go on
        for stored in islice(self._stream, 2 * len(self) + 1):
            row = json.loads(stored['__url__'])[1] + json.loads(stored['sample.json'])['number']
            if self.dataset.visible_of_row(row) or not self.dataset.drop_unlabelled:
                return self._sample(stored, row, getattr(idx, 'draw', int(idx)))
        raise ConfigError(
            'ShardStream: the shards of this worker hold no sample that is labelled: use fewer workers, smaller shards, or '
            'drop_unlabelled=False'
        )

    def _opened(self, places: Iterator[tuple[str, int]]) -> Iterator[dict[str, Any]]:
        """The shards, open, each with the row of its first sample."""
        for place, row in places:
            yield dict(url=json.dumps([place, row]), stream=self.dataset.storage.stream(place))

    def _passes(self, passes: int) -> Iterator[dict[str, Any]]:
        try:
            from webdataset.filters import detshuffle
            from webdataset.shardlists import split_by_node, split_by_worker
            from webdataset.tariterators import group_by_keys, tar_file_expander
        except ImportError as error:
            raise ConfigError('ShardStream reads shards by webdataset: pip install "mmmtl[large]"') from error
        first, places = 0, []
        for place, samples in self.shards:
            places.append((place, first))
            first += samples
        while True:
            drawn = list(places)
            if self.shuffle:
                random.Random(f'{self.seed} {passes}').shuffle(drawn)
            own = list(split_by_worker(split_by_node(iter(drawn))))
            if not own:
                raise ConfigError(
                    f'ShardStream: {len(places)} shards are too few for so many workers: use fewer, or smaller shards'
                )
            samples = group_by_keys(tar_file_expander(self._opened(iter(own))))
            if self.shuffle:
                buffer = detshuffle(self.shuffle, self.shuffle, self.seed, passes)
                samples = buffer.run(samples)
            yield from samples
            passes += 1

    def _sample(self, stored: dict[str, Any], row: int, draw: int) -> Any:
        """A sample of the data set from what webdataset gives: a dictionary of contents by the end of their names."""
        dataset, root = self.dataset, self.dataset.data_root or ''
        info = dataset.index.info(row, root)
        members = dataset.index.members(row, root) or {}
        contents = {path: stored[member.name.partition('.')[2].lower()] for path, member in members.items()}
        with dataset.storage.use(members, info, contents):
            return dataset.augment(dataset.load_of(info, dataset.visible_of_row(row)), draw)
