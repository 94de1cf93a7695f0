"""The dataset every other one is built on: tasks, partial labels, seeded augmentation, errors that name the file."""

from __future__ import annotations

import contextlib
import logging
import os.path as osp
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log

from mmmtl.datasets.io.addresses import join
from mmmtl.datasets.io.pictures import exif_orientation, read_image
from mmmtl.datasets.io.storage import Storage, described
from mmmtl.errors import ConfigError, FileError, LabelError, NotFoundError, suggest
from mmmtl.registry import LABEL_SAMPLERS, TRANSFORMS
from mmmtl.tasks import IGNORE, Task, build_tasks
from mmmtl.tasks.categorical import CategoricalTask
from mmmtl.utils.seeding import stable_hash

from .checks import check_ids, check_indices, check_labels, check_pairs, check_pipeline
from .label_samplers import LabelSampler, save_label_map
from .transforms.base import new_results
from .transforms.resample import PrefixSampleId
from .unreadable import UnreadableSamples


class TaskTable(dict):
    """``{name: task}`` of a data set.

    mmengine's ``ConcatDataset`` compares what data sets say of themselves; where it would call the tasks of two data sets
    different, the message says what to use.
    """

    def __ne__(self, other: object) -> bool:
        if isinstance(other, TaskTable) and other is not self:
            raise ConfigError(
                "mmengine's ConcatDataset cannot join data sets of tasks, whose samples may be called alike: use "
                "mmmtl.datasets.MixedDataset (in a config dict(type='ConcatDataset') is it)"
            )
        return super().__ne__(other)


class MTLDataset(BaseDataset):
    """Images with dense labels for several tasks, any of which may be missing.

    A subclass gives :meth:`list_samples` (dicts with ``sample_id``, ``img_path`` and whatever its loaders
    need) and, per label it has, a method ``load_<source>(info)`` that returns the label in the package's
    convention (categorical integers (H, W), 255 unknown; continuous float32 (C, H, W), NaN unknown) or None
    where the sample has none. ``Task.source`` names the loader of a task; by default it is the task's name.

    Which labels are used is decided by ``label_sampler`` from the sample ids before anything is opened; the
    files of hidden labels are never touched, and no transform sees them.

    Randomness: every sample gets ``results['rng']``, a ``random.Random`` seeded by (seed, sample id, draw).
    ``draw`` comes with the index (a training sampler yields an int with the attribute ``draw``), is 0 in test
    mode, and otherwise one number of Python's global generator, which torch seeds per worker.

    Args:
        tasks: ``{task name: config or Task}``.
        data_root: Root folder of the data set.
        split: Name of the split.
        pipeline: Transforms; see ``mmmtl.datasets.transforms`` for the dict that travels through them.
        label_sampler: Config of a label sampler; default ``FullLabels``.
        test_mode: Test protocol: no randomness, labels stay at the original size.
        seed: Seed of the augmentation.
        frames: Frames per sample: 1, the first alone, or 2, always a pair; default: a pair where a label that is asked
            for needs one.
        allow_unlabelled: Tasks that may have no label in the whole dataset (or True for any); else that is an
            error.
        leak_labels_to_crop: Tasks whose hidden label the random crop may still look at, as in the recipe released
            with DiffusionMTL, where the crop is chosen by the segmentation of images that have none. For reproducing
            that recipe only.
        label_map_out: Write the labels that were chosen to this JSON or CSV file.
        drop_unlabelled: Leave samples out that the label sampler gives no label (a single-task network on a partially
            labelled set).
        indices: Use a part of the samples: the first n, or those at these places.
        backend_args: How files are reached that are not on a local disk: mmengine's backends, or what fsspec needs for
            addresses like ``s3://...``, and a local cache; see :class:`~mmmtl.datasets.io.storage.Storage`.
        max_unreadable: In training, samples whose files stay unreadable that may be left out (each is named in the log, and
            the next one takes its place); one more stops the run. Never in test mode.
        lazy_init: Do not read the sample list yet.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        data_root: str = '',
        split: str = 'train',
        pipeline: Sequence[dict | Callable] = (),
        label_sampler: dict | LabelSampler | None = None,
        test_mode: bool = False,
        seed: int = 0,
        frames: int | None = None,
        allow_unlabelled: bool | Sequence[str] = False,
        leak_labels_to_crop: Sequence[str] = (),
        label_map_out: str | None = None,
        drop_unlabelled: bool = False,
        indices: int | Sequence[int] | None = None,
        backend_args: Mapping[str, Any] | None = None,
        max_unreadable: int = 0,
        metainfo: Mapping | None = None,
        lazy_init: bool = False,
    ) -> None:
        self.tasks: dict[str, Task] = TaskTable(build_tasks(tasks))
        if frames not in (None, 1, 2):
            raise ConfigError(f'{type(self).__name__}: frames must be 1, 2 or None, got {frames!r}')
        self.split, self.seed, self.frames = split, int(seed), frames
        self.allow_unlabelled = allow_unlabelled
        self.label_map_out, self.drop_unlabelled = label_map_out, drop_unlabelled
        self.leak_labels_to_crop = tuple(leak_labels_to_crop)
        self.storage = Storage(backend_args)
        self.unreadable = UnreadableSamples(max_unreadable)
        self.remarks: list[str] = []
        self.id_prefix = ''
        for task in self.leak_labels_to_crop:
            if task not in self.tasks:
                raise ConfigError(
                    f"leak_labels_to_crop: '{task}' is not a task of this dataset.{suggest(task, self.tasks)}"
                )
        sampler = label_sampler if label_sampler is not None else dict(type='FullLabels')
        self.label_sampler = sampler if isinstance(sampler, LabelSampler) else LABEL_SAMPLERS.build(sampler)
        self.labels: dict[str, tuple[str, ...]] = {}
        self._visible: list[tuple[str, ...]] = []
        built = [t if not isinstance(t, Mapping) else TRANSFORMS.build(t) for t in pipeline]
        self.remarks += check_pipeline(built, test_mode)
        super().__init__(
            ann_file='',
            metainfo=metainfo,
            data_root=osp.expanduser(data_root or ''),
            data_prefix={},
            indices=indices,
            pipeline=built,
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    # ---- what a subclass gives -------------------------------------------------------------------------------------
    def list_samples(self) -> list[dict]:
        """Samples of the split: dicts with ``sample_id`` (unique), ``img_path``, and what the loaders need.

        A sample with a second frame has an entry ``next_path``. An entry ``available`` (tuple of label sources) says which
        labels exist, where that differs between samples; ``paths`` (``{source: file}``) or ``label_path``, where they are.
        """
        raise NotImplementedError(f'{type(self).__name__} must implement list_samples')

    def load_image(self, info: dict) -> np.ndarray:
        """The photograph: uint8 or float32 RGB (H, W, 3), values 0..255."""
        return read_image(info['img_path'])

    def load_next_image(self, info: dict) -> np.ndarray:
        """The second frame of a pair, as :meth:`load_image`; needed by tasks with ``frames == 2``."""
        return read_image(info['next_path'])

    def gives_pairs(self, names: Iterable[str] | None = None) -> bool:
        """Whether a sample comes with its second frame when the labels of ``names`` (default: all tasks) are wanted."""
        if self.frames is not None:
            return self.frames == 2
        return any(self.tasks[name].frames > 1 for name in (self.tasks if names is None else names))

    def label_file(self, info: dict, source: str) -> str:
        """The file a label comes from: of ``info['paths']`` that of the source, or ``info['label_path']``."""
        own = info.get('paths', {}).get(source) or info.get('label_path')
        return str(own or info.get('img_path') or info['sample_id'])

    def image_files(self, info: dict) -> list[str]:
        """The files of a sample's frames."""
        return [str(info[key]) for key in ('img_path', 'next_path') if info.get(key)]

    def label_files(self, info: dict, source: str) -> list[str]:
        """Every file that a label is read from; more than :meth:`label_file` where there are several."""
        return [self.label_file(info, source)]

    def reader_state(self) -> dict[str, Any]:
        """What :meth:`list_samples` found out that the loaders need, as JSON; kept in an index of the data set."""
        return {}

    def restore_reader(self, state: Mapping[str, Any]) -> None:
        """Be ready to load samples of an index, in place of :meth:`list_samples`; ``state`` is that of the index."""

    @classmethod
    def reader_arguments(cls, arguments: dict[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
        """Arguments for reading an index's samples, from those it was made with and ``{task: what it was called then}``."""
        return arguments

    def sources(self) -> list[str]:
        """Names of the labels this data set has: its ``load_<source>`` methods."""
        return sorted(m[5:] for m in dir(self) if m.startswith('load_') and m not in _NOT_LABELS)

    def read_label(self, info: dict, task: Task) -> np.ndarray | None:
        """One label as its loader gives it, unchecked."""
        return getattr(self, f'load_{task.source}')(info)

    def derive(self, info: dict) -> Any:
        """Put a sample's derived labels into the data set's cache; :meth:`finish_derived` gets what is returned."""

    def finish_derived(self, notes: Mapping[str, Any]) -> None:
        """Called once with ``{sample id: what derive returned}`` when every sample has been derived."""

    # ---- samples and labels ----------------------------------------------------------------------------------------
    @property
    def metainfo(self) -> dict:
        """Meta information; ``tasks`` holds the task objects, ``dataset`` the class's name."""
        return dict(super().metainfo, tasks=self.tasks, dataset=type(self).__name__)

    def checked_samples(self) -> list[dict]:
        """:meth:`list_samples`, with unique ids that stay below the root, and pairs where pairs are wanted."""
        with self.storage.use():
            samples = self.list_samples()
        if not samples:
            raise NotFoundError(f"{type(self).__name__}: no samples in split '{self.split}' under {self.data_root!r}")
        check_ids(self, [info['sample_id'] for info in samples])
        check_pairs(self, next((info['sample_id'] for info in samples if 'next_path' not in info), None))
        return samples

    def load_data_list(self) -> list[dict]:
        samples = self.checked_samples()
        self.labels = self._assign(samples)
        self.tell_remarks()
        kept = [s for s in samples if self.labels[s['sample_id']]] if self.drop_unlabelled else samples
        self.unreadable.watch(len(kept))
        check_indices(self, self._indices, len(kept))
        return kept

    def tell_remarks(self) -> None:
        """Say in the log what was noticed while the samples were listed."""
        for remark in self.remarks:
            print_log(f"{type(self).__name__} '{self.split}': {remark}", logger='current', level=logging.WARNING)

    def _assign(self, samples: list[dict]) -> dict[str, tuple[str, ...]]:
        """Ask the label sampler, and insist that every task has a label somewhere."""
        sources = self.sources()
        exists = {n: t.source in sources for n, t in self.tasks.items()}
        available = {
            info['sample_id']: [
                n for n, t in self.tasks.items() if exists[n] and t.source in info.get('available', (t.source,))
            ]
            for info in samples
        }
        labels = self.label_sampler.assign(available, list(self.tasks))
        there, chosen = ({name for names in found.values() for name in names} for found in (available, labels))
        check_labels(self, len(samples), there, chosen)
        if self.label_map_out:
            about = dict(sampler=type(self.label_sampler).__name__, seed=self.label_sampler.seed, split=self.split)
            save_label_map(labels, self.label_map_out, list(self.tasks), about)
        return labels

    @property
    def compares_ids(self) -> bool:
        """Whether the ids are few enough to be compared with those of other data sets."""
        return True

    @property
    def before_ids(self) -> str:
        """What stands before a sample's id when it leaves the pipeline."""
        steps = (step for step in reversed(self.pipeline.transforms) if isinstance(step, PrefixSampleId))
        return ''.join(f'{step.name}/' for step in steps) + self.id_prefix

    def visible(self, index: int) -> tuple[str, ...]:
        """The tasks whose label of a sample is used."""
        return self.labels[self.get_data_info(index)['sample_id']]

    def places(self) -> Iterator[tuple[str, str]]:
        """Id and photograph of every sample."""
        for k in range(len(self)):
            info = self.get_data_info(k)
            yield info['sample_id'], str(info.get('img_path'))

    def labelled(self, task: str) -> np.ndarray:
        """Places (n,) of the samples whose label of a task is used, in order."""
        self.full_init()
        if all(task in names for names in self.labels.values()):
            return np.arange(len(self))
        if len(self._visible) != len(self):
            self._visible = [self.visible(k) for k in range(len(self))]
        return np.array([k for k, names in enumerate(self._visible) if task in names], np.int64)

    def files_of(self, info: dict) -> contextlib.AbstractContextManager[None]:
        """Within it, this sample's files are read from where they are: the disk, a remote store, or shards."""
        return self.storage.use(info.get('members'), info)

    def load_label(self, info: dict, name: str) -> np.ndarray | None:
        """The checked label of one task, or None where the sample has none.

        Raises:
            LabelError: A file that is missing, unreadable, or not what the task declares; names file, task,
            expected, found.
        """
        task = self.tasks[name]
        with self.files_of(info):
            where = described(self.label_file(info, task.source))
            try:
                label = self.read_label(info, task)
            except LabelError:
                raise
            except (ValueError, OSError) as error:
                raise LabelError(f"{where}: task '{name}' of sample '{info['sample_id']}': {error}") from error
        if label is None:
            return None
        task.check_label(label, where)
        size = info.get('img_size', label.shape[-2:])
        if label.shape[-2:] != size:
            turn = exif_orientation(info['img_path']) if 'img_path' in info else 1
            turned = (
                f'; the photograph is turned by its EXIF orientation {turn}: turn the label likewise, or say '
                'upright=False (FolderDataset) if it is drawn on the stored pixels'
            )
            raise LabelError(
                f"{where}: task '{name}' expects the size of its image, {size[0]}x{size[1]} (height x width), "
                f'found {label.shape[-2]}x{label.shape[-1]}'
                + (turned if turn != 1 else ': save it at the size of its image (class ids by nearest pixel)')
            )
        return label

    def load_sample(self, index: int, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Everything before the pipeline: the labels of ``names`` (default: the visible ones) and the image.

        The second frame comes along where one of ``names`` (default: any task) needs it.
        """
        info = self.get_data_info(index)
        with self.files_of(info):
            return self.load_of(info, self.visible(index) if names is None else tuple(names), names)

    def load_of(self, info: dict, visible: tuple[str, ...], names: Sequence[str] | None = None) -> dict[str, Any]:
        """:meth:`load_sample` of a description and its visible labels, whose files can be read now."""
        images = [self.load_image(info)]
        size = info['img_size'] = images[0].shape[:2]
        if self.gives_pairs(None if names is None else visible):
            images.append(self.load_next_image(info))
            if images[1].shape[:2] != size:
                raise FileError(
                    f"sample '{info['sample_id']}': the frames differ in size: {size} and {images[1].shape[:2]}"
                )
        labels = {n: self._load_narrow(info, n) for n in visible}
        hidden = () if names is not None or self.test_mode else set(self.leak_labels_to_crop) - set(visible)
        leaked = {n: self._load_narrow(info, n) for n in sorted(hidden)}
        kept = {k: v for k, v in info.items() if k not in ('available', 'members')}
        kept['sample_id'] = self.id_prefix + info['sample_id']
        return new_results(images, self.tasks, kept, labels, leaked, self.test_mode)

    def _load_narrow(self, info: dict, name: str) -> np.ndarray | None:
        """:meth:`load_label`; classes as uint8, an eighth of the memory on their way through the pipeline."""
        label = self.load_label(info, name)
        if label is None or not isinstance(self.tasks[name], CategoricalTask):
            return label
        return label.astype(np.uint8, copy=False)

    def prepare_data(self, idx: int) -> Any:
        # an index that names tasks (TaskIndex) wants their labels only
        results = self.load_sample(int(idx), getattr(idx, 'tasks', None))
        draw = 0 if self.test_mode else getattr(idx, 'draw', None)
        return self.augment(results, random.getrandbits(62) if draw is None else draw)

    def augment(self, results: dict[str, Any], draw: int) -> Any:
        """Send a sample through the pipeline, with the random numbers of a draw."""
        seed = stable_hash(self.seed, results['sample_id'][len(self.id_prefix) :], draw)
        results['rng'] = random.Random(seed)
        return self.pipeline(results)

    def get_cat_ids(self, idx: int) -> list[int]:
        """Classes that occur in a sample's first visible label of classes, for mmengine's ``ClassBalancedDataset``."""
        info = self.get_data_info(idx)
        name = next((n for n in self.visible(idx) if self.tasks[n].categorical), None)
        label = None if name is None else self.load_label(info, name)
        return [] if label is None else [c for c in np.unique(label).tolist() if c != IGNORE]

    def __getitem__(self, idx: int) -> Any:
        # a bad file stops the run with its name: another sample in its place would hide it
        if not self._fully_initialized:
            self.full_init()
        if not self.unreadable.limit or self.test_mode:
            return self.prepare_data(idx)
        first = int(idx) % len(self)
        while True:
            try:
                return self.prepare_data(idx)
            except (FileError, LabelError, OSError) as error:
                self.unreadable.note(int(idx), self.get_data_info(int(idx))['sample_id'], error)
                idx = self._next(idx)
                if int(idx) == first:  # nothing is left to take its place
                    raise

    def _next(self, idx: int) -> int:
        """The index after ``idx`` whose labels can be asked for as those of ``idx`` are; it keeps the draw."""
        while True:
            idx = (idx - -1) % len(self)
            if set(getattr(idx, 'tasks', ())) <= set(self.visible(int(idx))):
                return idx

    def path(self, *parts: str) -> str:
        """A path under ``data_root``."""
        return join(self.data_root, *parts)


_NOT_LABELS = {name for name in dir(MTLDataset) if name.startswith('load_')}
