"""The dataset every other one is built on: tasks, partial labels, seeded augmentation, errors that name the file."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset

from mmmtl.datasets.io.label_files import read_image
from mmmtl.errors import ConfigError, LabelError, suggest
from mmmtl.registry import LABEL_SAMPLERS, TRANSFORMS
from mmmtl.tasks import Task, build_tasks
from mmmtl.utils.seeding import stable_hash

from .label_samplers import LabelSampler, save_label_map


class MTLDataset(BaseDataset):
    """Images with dense labels for several tasks, any of which may be missing.

    A subclass gives :meth:`list_samples` (dicts with ``sample_id``, ``img_path`` and whatever its loaders
    need) and, per label it has, a method ``load_<source>(info)`` that returns the label in the package's
    convention (categorical int64 (H, W), 255 unknown; continuous float32 (C, H, W), NaN unknown) or None
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
        allow_unlabelled: Tasks that may have no label in the whole dataset (or True for any); else that is an
            error.
        peek: Tasks whose hidden label the random crop may still look at, as in the recipe released with
            DiffusionMTL, where the crop is chosen by the segmentation of images that have none. A leak: for
            reproducing that recipe only.
        label_map_out: Write the labels that were chosen to this JSON or CSV file.
        drop_unlabelled: Leave samples out that the label sampler gives no label (a single-task network on a partially
            labelled set).
        indices: Use a part of the samples: the first n, or those at these places.
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
        allow_unlabelled: bool | Sequence[str] = False,
        peek: Sequence[str] = (),
        label_map_out: str | None = None,
        drop_unlabelled: bool = False,
        indices: int | Sequence[int] | None = None,
        metainfo: Mapping | None = None,
        lazy_init: bool = False,
    ) -> None:
        self.tasks: dict[str, Task] = build_tasks(tasks)
        self.split, self.seed = split, int(seed)
        self.allow_unlabelled = allow_unlabelled
        self.label_map_out, self.drop_unlabelled = label_map_out, drop_unlabelled
        self.peek = tuple(peek)
        for task in self.peek:
            if task not in self.tasks:
                raise ConfigError(f"peek: '{task}' is not a task of this dataset.{suggest(task, self.tasks)}")
        sampler = label_sampler if label_sampler is not None else dict(type='FullLabels')
        self.label_sampler = sampler if isinstance(sampler, LabelSampler) else LABEL_SAMPLERS.build(sampler)
        self.labels: dict[str, tuple[str, ...]] = {}
        built = [t if not isinstance(t, Mapping) else TRANSFORMS.build(t) for t in pipeline]
        super().__init__(
            ann_file='',
            metainfo=metainfo,
            data_root=data_root,
            data_prefix={},
            indices=indices,
            pipeline=built,
            test_mode=test_mode,
            lazy_init=lazy_init,
        )

    # ---- what a subclass gives -------------------------------------------------------------------------------------
    def list_samples(self) -> list[dict]:
        """Samples of the split: dicts with ``sample_id`` (unique), ``img_path``, and what the loaders need.

        An entry ``available`` (tuple of label sources) says which labels exist, where that differs between
        samples.
        """
        raise NotImplementedError(f'{type(self).__name__} must implement list_samples')

    def load_image(self, info: dict) -> np.ndarray:
        """The photograph: uint8 or float32 RGB (H, W, 3), values 0..255."""
        return read_image(info['img_path'])

    def load_next_image(self, info: dict) -> np.ndarray:
        """The second frame of a pair, as :meth:`load_image`; needed by tasks with ``frames == 2``."""
        if 'next_path' not in info:
            raise ConfigError(
                f'{type(self).__name__} has single frames, but the tasks '
                f'{[n for n, t in self.tasks.items() if t.frames > 1]} need a pair'
            )
        return read_image(info['next_path'])

    def label_file(self, info: dict, source: str) -> str:
        """The file a label comes from, for error messages."""
        return str(info.get('img_path') or info['sample_id'])

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

    def load_data_list(self) -> list[dict]:
        samples = self.list_samples()
        if not samples:
            raise FileNotFoundError(
                f"{type(self).__name__}: no samples in split '{self.split}' under {self.data_root!r}"
            )
        counts = Counter(info['sample_id'] for info in samples)
        twice = next((i for i, n in counts.items() if n > 1), None)
        if twice is not None:
            raise ValueError(
                f"{type(self).__name__}: sample id '{twice}' occurs {counts[twice]} times; ids must be unique"
            )
        self.labels = self._assign(samples)
        return [s for s in samples if self.labels[s['sample_id']]] if self.drop_unlabelled else samples

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
        allowed = self.tasks if self.allow_unlabelled is True else (self.allow_unlabelled or ())
        for name, task in self.tasks.items():
            if name in allowed or any(name in kept for kept in labels.values()):
                continue
            if not exists[name]:
                near = suggest(task.source, sources)
                why = f"{type(self).__name__} has no label '{task.source}' (it has {sources}).{near}"
            elif any(name in kept for kept in available.values()):
                why = f'{type(self.label_sampler).__name__} gives it to no sample.'
            else:
                why = f"no sample of split '{self.split}' under {self.data_root!r} has a label file for it."
            raise ConfigError(
                f"tasks['{name}']: not one of {len(samples)} samples is labelled: {why} Remove the task, or "
                f"say allow_unlabelled=('{name}',) if that is meant."
            )
        if self.label_map_out:
            about = dict(sampler=type(self.label_sampler).__name__, seed=self.label_sampler.seed, split=self.split)
            save_label_map(labels, self.label_map_out, list(self.tasks), about)
        return labels

    def load_label(self, info: dict, name: str) -> np.ndarray | None:
        """The checked label of one task, or None where the sample has none.

        Raises:
            LabelError: A file that is missing, unreadable, or not what the task declares; names file, task,
            expected, found.
        """
        task = self.tasks[name]
        where = self.label_file(info, task.source)
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
            raise LabelError(
                f"{where}: task '{name}' expects the size of its image, {size[0]}x{size[1]} (height x width), "
                f'found {label.shape[-2]}x{label.shape[-1]}'
            )
        return label

    def load_sample(self, index: int, names: Sequence[str] | None = None) -> dict[str, Any]:
        """Everything before the pipeline: the labels of ``names`` (default: the visible ones) and the image.

        The second frame comes along where one of ``names`` (default: any task) needs it.
        """
        info = self.get_data_info(index)
        visible = self.labels[info['sample_id']] if names is None else tuple(names)
        results: dict[str, Any] = {k: v for k, v in info.items() if k not in ('available',)}
        results['img'] = self.load_image(info)
        size = info['img_size'] = results['img'].shape[:2]
        if any(self.tasks[name].frames > 1 for name in (self.tasks if names is None else visible)):
            results['img_next'] = self.load_next_image(info)
            if results['img_next'].shape[:2] != size:
                raise ValueError(
                    f"sample '{info['sample_id']}': the frames differ in size: {size} and "
                    f'{results["img_next"].shape[:2]}'
                )
        labels = {n: self.load_label(info, n) for n in visible}
        results['gt'] = {n: label for n, label in labels.items() if label is not None}
        hidden = [n for n in self.peek if n not in visible] if names is None and not self.test_mode else []
        results['peek'] = {n: label for n in hidden if (label := self.load_label(info, n)) is not None}
        results.update(
            tasks=self.tasks,
            ori_shape=size,
            img_shape=size,
            padding=(0, 0, 0, 0),
            scale_factor=(1.0, 1.0),
            flip=False,
            test_mode=self.test_mode,
        )
        return results

    def prepare_data(self, idx: int) -> Any:
        # an index that names tasks (TaskIndex) wants their labels only
        results = self.load_sample(int(idx), getattr(idx, 'tasks', None))
        draw = 0 if self.test_mode else getattr(idx, 'draw', None)
        draw = random.getrandbits(62) if draw is None else draw
        results['rng'] = random.Random(stable_hash(self.seed, results['sample_id'], draw))
        return self.pipeline(results)

    def __getitem__(self, idx: int) -> Any:
        # a bad file stops the run with its name: another sample in its place would hide it
        if not self._fully_initialized:
            self.full_init()
        return self.prepare_data(idx)

    def path(self, *parts: str) -> str:
        """A path under ``data_root``."""
        return str(Path(self.data_root, *parts))


_NOT_LABELS = {'load_data_list', 'load_image', 'load_next_image', 'load_label', 'load_sample'}
