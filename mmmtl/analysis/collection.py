"""Predictions of whole collections, by any number of processes that know nothing of each other; labels made of them."""

from __future__ import annotations

import copy
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from mmmtl.apis import Inferencer
from mmmtl.config import load_config
from mmmtl.datasets import MTLDataset
from mmmtl.datasets.io.folders import IMAGE_SUFFIXES, index_files
from mmmtl.datasets.io.inputs import ImageInput, gather_inputs
from mmmtl.datasets.mixed import sample_id_of
from mmmtl.datasets.pseudo_labels import certain_label, label_stem
from mmmtl.datasets.statistics import leaf_datasets
from mmmtl.engine.checkpoint_files import DIGESTS, file_digest
from mmmtl.errors import ConfigError, InputError, suggest
from mmmtl.registry import DATASETS
from mmmtl.utils.files import read_json, write_json, write_npy
from mmmtl.utils.seeding import stable_hash
from mmmtl.visualization import write_raw

NOTE = 'predictions.json'
"""File of the output folder that says what the predictions are of; another network's do not mix with them."""
_LAUNCHERS = (
    ('RANK', 'WORLD_SIZE'),
    ('SLURM_PROCID', 'SLURM_NTASKS'),
    ('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'),
)


@dataclass(frozen=True)
class Part:
    """A share of a collection that follows from the ids alone.

    Attributes:
        number: 0 .. ``count`` - 1.
        count: Number of shares.
    """

    number: int = 0
    count: int = 1

    def has(self, sample_id: str) -> bool:
        """Whether a sample belongs to this share."""
        return self.count == 1 or stable_hash('part', sample_id) % self.count == self.number

    @classmethod
    def of(cls, text: str | None) -> Part:
        """The share that ``I/N`` names, 1/N .. N/N; without a text that of this process of a launcher, or everything.

        Raises:
            ConfigError: Another text, or a number out of range.
        """
        if text is None:
            found = next(
                ((os.environ[a], os.environ[b]) for a, b in _LAUNCHERS if a in os.environ and b in os.environ), None
            )
            return cls(int(found[0]), int(found[1])) if found else cls()
        match = re.fullmatch(r'\s*(\d+)\s*/\s*(\d+)\s*', text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            raise ConfigError(f"part: expected I/N with I from 1 to N, such as 1/8 .. 8/8, got '{text}'")
        return cls(int(match[1]) - 1, int(match[2]))


@dataclass
class Entry:
    """An image of a collection.

    Attributes:
        sample_id: Its id.
        labelled: Tasks that it has true labels of.
        source: A file or files, or a data set with the place of the sample in it.
    """

    sample_id: str
    labelled: tuple[str, ...]
    source: ImageInput | tuple[MTLDataset, int]

    def load(self, frames: int) -> ImageInput:
        """The image, or pair of frames, to predict on."""
        if isinstance(self.source, ImageInput):
            return self.source
        dataset, index = self.source
        info = dataset.get_data_info(index)
        with dataset.files_of(info):
            images = [dataset.load_image(info)]
            if frames == 2 and 'next_path' in info:
                images.append(dataset.load_next_image(info))
        # data sets may give floats of 0 to 255, which in a picture of a user's would be in [0, 1]
        return ImageInput(self.sample_id, tuple(np.rint(image).clip(0, 255).astype(np.uint8) for image in images))


def dataset_config(cfg: Config) -> dict[str, Any]:
    """The data set that a config trains on, as it is described there."""
    loader = cfg.get('train_dataloader') or {}
    if not loader.get('dataset'):
        raise ConfigError(f'{cfg.filename or "the config"} has no train_dataloader.dataset to predict on')
    return loader['dataset']


def is_index(path: str) -> bool:
    """Whether a path is an index, or a folder of shards, here or in a store."""
    return path.endswith('.parquet') or '://' in path or os.path.isfile(os.path.join(path, 'index.parquet'))


def entries_of(inputs: Sequence[str], frames: int, tasks: Mapping[str, Any]) -> tuple[Iterator[Entry], int]:
    """The images of a collection, and how many there are.

    Args:
        inputs: Images, folders, patterns; or one index, or folder of shards, local or remote; or one config (``.py``), whose
            training set is meant. The ids of the images of
            one folder are their paths below it, as :class:`~mmmtl.datasets.FolderDataset` has them.
        frames: Frames that the model looks at.
        tasks: The network's, whose labels an index is asked for.
    """
    if len(inputs) == 1 and is_index(inputs[0]):
        known = dict(type='IndexedDataset', index=inputs[0], tasks=dict(tasks), frames=frames, allow_unlabelled=True)
        indexed = DATASETS.build(known)
        return _of_dataset(indexed), len(indexed)
    if len(inputs) == 1 and os.path.isdir(inputs[0]) and frames == 1:
        found = index_files(inputs[0], IMAGE_SUFFIXES)
        if not found:
            raise InputError(f"folder '{inputs[0]}' has no images ({', '.join(IMAGE_SUFFIXES)})")
        return (Entry(i, (), ImageInput(i, (path,))) for i, path in found.items()), len(found)
    if len(inputs) == 1 and inputs[0].endswith('.py'):
        dataset = DATASETS.build(dataset_config(load_config(inputs[0])))
        leaves = list(leaf_datasets(dataset))
        return (entry for leaf in leaves for entry in _of_dataset(leaf)), sum(map(len, leaves))
    items = gather_inputs(list(inputs), frames, lone=True)
    return (Entry(item.sample_id, (), item) for item in items), len(items)


def _of_dataset(dataset: MTLDataset) -> Iterator[Entry]:
    for index in range(len(dataset)):
        yield Entry(sample_id_of(dataset, index), dataset.visible(index), (dataset, index))


@dataclass
class Writer:
    """Writes what is predicted on one image after the other.

    Attributes:
        out: ``out/TASK/ID.png|npy``, and with several noise seeds ``out/uncertainty/TASK/ID.npy``.
        inferencer: The network.
        names: Tasks to predict.
        keep_below: With a number for every task, labels are written instead of predictions: for the tasks that an image
            has no label of, unknown where the uncertainty is not below it.
    """

    out: Path
    inferencer: Inferencer
    names: Sequence[str]
    ensemble: int = 1
    keep_below: Mapping[str, float] | None = None

    def wanted(self, entry: Entry) -> list[str]:
        """Tasks that are to be predicted on an image."""
        return [n for n in self.names if self.keep_below is None or n not in entry.labelled]

    def missing(self, entry: Entry) -> list[str]:
        """Those of them that are not there yet; what is there is whole."""
        stems = {name: self.out / label_stem(name, entry.sample_id) for name in self.wanted(entry)}
        return [n for n, s in stems.items() if not any(os.path.exists(f'{s}{end}') for end in ('.png', '.npy'))]

    def write(self, entry: Entry, result: Any) -> None:
        """Write the predictions of an image, uncertainty first."""
        uncertainty = getattr(result, 'uncertainty', None) or {}
        for name in self.wanted(entry):
            spread = uncertainty.get(name)
            if spread is not None:
                write_npy(
                    self.out / 'uncertainty' / f'{label_stem(name, entry.sample_id)}.npy', spread.astype(np.float16)
                )
            value = result.pred[name]
            if self.keep_below is not None:
                if spread is None:
                    raise ConfigError(f"keep_below: the network gives no uncertainty of '{name}'")
                value = certain_label(self.inferencer.tasks[name], value, spread, self.keep_below[name])
            write_raw(str(self.out), entry.sample_id, {name: value})


def predict_collection(
    inferencer: Inferencer,
    inputs: Sequence[str],
    out: str,
    part: Part | None = None,
    tasks: Sequence[str] | None = None,
    ensemble: int = 1,
    keep_below: Mapping[str, float] | float | None = None,
    batch_size: int = 1,
    origin: str = '',
) -> str:
    """Predict on a collection, or on a share of it; returns a line that says what was done.

    Every process takes the images whose ids fall into its share (:class:`Part`); none waits for another. What is written
    already is left alone, so that an interrupted run goes on.

    Args:
        inferencer: The network.
        inputs: See :func:`entries_of`.
        out: Folder of the predictions, shared by all processes.
        part: The share; default: that of this process of a launcher, or everything.
        tasks: Tasks to predict; default: all of the network.
        ensemble: Noise seeds to average over; how far they differ is the uncertainty, which is written, too.
        keep_below: Write labels for the tasks that an image lacks, unknown where the uncertainty is not below this: a
            number, or one for every task, in the task's unit of uncertainty.
        batch_size: Images per pass.
        origin: What the predictions are of (a config and a checkpoint), for the note in ``out``.

    Raises:
        ConfigError: A task that there is not, or labels without an uncertainty.
        InputError: ``out`` holds predictions of something else; or some images could not be used: the others are done.
    """
    part, names = part or Part.of(None), _tasks(inferencer, tasks)
    writer = Writer(Path(out), inferencer, names, ensemble, _limits(keep_below, names, ensemble))
    settings = dict(origin=origin, tasks=names, ensemble=ensemble, keep_below=writer.keep_below)
    claim(Path(out), settings)
    entries, total = entries_of(inputs, inferencer.frames, inferencer.tasks)
    own = done = 0
    failures: list[str] = []
    waiting: list[Entry] = []

    def predict() -> int:
        count, batch = 0, {entry.sample_id: entry for entry in waiting}
        images = [loaded for entry in waiting if (loaded := _loaded(entry, inferencer.frames, failures)) is not None]
        waiting.clear()
        if not images:
            return 0
        stream = inferencer.stream(
            images,
            tasks=names,
            ensemble=ensemble,
            batch_size=batch_size,
            panels=False,
            progress=False,
            failures=failures,
        )
        for result in stream:
            writer.write(batch[result.sample_id], result)
            count += 1
        return count

    for entry in entries:
        if not part.has(entry.sample_id):
            continue
        own += 1
        if writer.missing(entry):
            waiting.append(entry)
        if len(waiting) == max(8, batch_size):
            done += predict()
    done += predict()
    line = f'part {part.number + 1}/{part.count}: {own} of {total} images, {done} predicted now, the others before, in {out}'
    if failures:
        print(line)
        raise InputError(f'{len(failures)} of {own} images failed:\n  ' + '\n  '.join(failures))
    return line


def _loaded(entry: Entry, frames: int, failures: list[str]) -> ImageInput | None:
    """The image of an entry; what a data set cannot read is noted like a file that cannot be read."""
    try:
        return entry.load(frames)
    except (ValueError, OSError) as error:
        failures.append(str(error))
        return None


def _tasks(inferencer: Inferencer, tasks: Sequence[str] | None) -> list[str]:
    for name in tasks or ():
        if name not in inferencer.tasks:
            raise ConfigError(f"'{name}' is not a task of the network.{suggest(name, inferencer.tasks)}")
    return list(inferencer.tasks if tasks is None else tasks)


def _limits(keep_below: Any, names: Sequence[str], ensemble: int) -> dict[str, float] | None:
    """The limit of uncertainty of every task."""
    if keep_below is None:
        return None
    if ensemble < 2:
        raise ConfigError(
            f'keep_below needs an uncertainty: predict from several noise seeds, ensemble >= 2, got {ensemble}'
        )
    limits = dict(keep_below) if isinstance(keep_below, Mapping) else dict.fromkeys(names, keep_below)
    for name in [*names, *limits]:
        if name not in limits or name not in names:
            raise ConfigError(
                f"keep_below: give one number, or one for each of {list(names)}; '{name}' does not match (tasks, --tasks, "
                f'chooses some of them)'
            )
        if isinstance(limits[name], bool) or not isinstance(limits[name], (int, float)) or not limits[name] > 0:
            raise ConfigError(f'keep_below: expected a number above 0 for {name}, got {limits[name]!r}')
    return {name: float(value) for name, value in limits.items()}


def origin_of(config: str, options: Mapping[str, Any] | None, checkpoint: str) -> str:
    """What predictions are of, as text: a config, its changes, and the bytes of a checkpoint, whatever it is called."""
    path = Path(checkpoint)
    part = path / DIGESTS if path.is_dir() else path
    digest = file_digest(part)[:16] if part.is_file() else 'missing'
    changes = ' '.join(f'{key}={value!r}' for key, value in sorted((options or {}).items()))
    return f'{config} {changes} {path.name} sha256:{digest}'


def claim(out: Path, settings: Mapping[str, Any]) -> None:
    """Note what the predictions of a folder are of.

    Raises:
        InputError: They are of something else.
    """
    note, own = out / NOTE, json.loads(json.dumps(settings))
    if note.is_file():
        known = read_json(note)
        differing = [k for k in own if not isinstance(known, dict) or known.get(k) != own[k]]
        if differing:
            key = differing[0]
            there = known.get(key) if isinstance(known, dict) else None
            raise InputError(
                f'{out} holds predictions with {key}={there!r}, and these have {own[key]!r}: give another --out'
            )
    write_json(note, own)


def train_on_labels(cfg: Config, inputs: Sequence[str], out: str, tasks: Sequence[str], weight: float = 1.0) -> str:
    """Write a config that trains on a config's own labels and, beside them, on those in ``out``; returns its path.

    Args:
        cfg: The config whose training set has the true labels.
        inputs: What the labels were made for: one folder of images, one index, or a config with a training set.
        out: Folder of the labels.
        tasks: Whose labels these are.
        weight: How often a sample of them is drawn for one with true labels, > 0.

    Raises:
        ConfigError: Inputs that no data set can be made of, or a weight out of range.
    """
    if not 0 < weight < float('inf'):
        raise ConfigError(f'weight must be a number above 0, got {weight}')
    true = dataset_config(cfg)
    images: dict[str, Any]
    if len(inputs) == 1 and inputs[0].endswith('.py'):
        images = dataset_config(load_config(inputs[0]))
    elif len(inputs) == 1 and is_index(inputs[0]):
        known = {name: cfg['model']['tasks'][name] for name in tasks}
        where = inputs[0] if '://' in inputs[0] else os.path.abspath(inputs[0])
        images = dict(type='IndexedDataset', index=where, tasks=known)
    elif len(inputs) == 1 and os.path.isdir(inputs[0]):
        known = {name: cfg['model']['tasks'][name] for name in tasks}
        images = dict(type='FolderDataset', data_root=os.path.abspath(inputs[0]), images='.', tasks=known)
    else:
        raise ConfigError('labels are made for one folder of images, one index, or a config with a training set')
    leaf: Any = true
    while 'tasks' not in leaf:
        leaf = leaf['dataset'] if 'dataset' in leaf else leaf['datasets'][0]
    kept: dict[str, Any] = {key: leaf[key] for key in ('pipeline', 'seed', 'frames') if key in leaf}
    made: dict[str, Any] = dict(
        type='PseudoLabels',
        predictions=os.path.abspath(out),
        dataset=images,
        tasks={name: cfg['model']['tasks'][name] for name in tasks},
        allow_unlabelled=True,
        **kept,
    )
    mixed = copy.deepcopy(cfg)
    mixed.train_dataloader.dataset = dict(type='MixedDataset', datasets=[true, made], weights=[1.0, float(weight)])
    path = os.path.join(out, 'train.py')
    mixed.dump(path)
    return path
