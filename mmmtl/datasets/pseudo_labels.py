"""Labels that a network gave: how a prediction becomes one, and the data set that reads them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mmmtl.datasets.io.folders import index_files
from mmmtl.datasets.io.stored_labels import LABEL_SUFFIXES, StoredLabels
from mmmtl.errors import NotFoundError
from mmmtl.registry import DATASETS
from mmmtl.tasks import IGNORE, Task
from mmmtl.utils.files import safe_name

from .base import MTLDataset
from .statistics import leaf_datasets


def label_stem(task: str, sample_id: str) -> str:
    """Path of a prediction below the folder of all, without its ending."""
    return f'{safe_name(task)}/{safe_name(sample_id)}'


def certain_label(task: Task, prediction: np.ndarray, uncertainty: np.ndarray, limit: float) -> np.ndarray:
    """A label made of a prediction: unknown where the uncertainty is not below ``limit``.

    Args:
        task: The task.
        prediction: int (H, W) classes, float (1, H, W) probabilities of the second of two classes, or float (C, H, W)
            values.
        uncertainty: (1, H, W), in the task's unit of spread.
        limit: Above 0.

    Returns:
        int64 (H, W), 255 unknown, or float32 (C, H, W), NaN unknown.
    """
    unknown = ~(uncertainty.reshape(uncertainty.shape[-2:]) < limit)  # not a number is not below anything
    if not task.categorical:
        unknown |= ~np.isfinite(prediction).all(0)
        return np.where(unknown, np.float32(np.nan), prediction).astype(np.float32)
    classes = prediction if prediction.dtype.kind in 'iu' else prediction > 0.5
    return np.where(unknown, IGNORE, classes.reshape(unknown.shape)).astype(np.int64)


@DATASETS.register_module()
class PseudoLabels(MTLDataset):
    """The images of another data set with the labels that a network gave them (``mmmtl predict --as-labels``).

    A sample has the labels whose files exist; images without any are left out.

    Args:
        tasks: ``{task name: config or Task}``.
        predictions: Folder of the labels, ``TASK/ID.png`` or ``.npy``.
        dataset: Config of the data set that the images are read from; its own labels are not used.
        **kwargs: Of :class:`MTLDataset`.
    """

    def __init__(self, tasks: Mapping[str, Any], predictions: str, dataset: Mapping[str, Any], **kwargs: Any) -> None:
        self.predictions = Path(predictions).expanduser()
        source = DATASETS.build(without_labels(dataset))
        self.leaves = list(leaf_datasets(source))
        self.stored: dict[str, StoredLabels] = {}
        super().__init__(tasks, **kwargs)

    def list_samples(self) -> list[dict]:
        files: dict[str, dict[str, Path]] = {}
        for name, task in self.tasks.items():
            folder = self.predictions / safe_name(name)
            files[name] = index_files(folder, LABEL_SUFFIXES)
            form = dict(unknown=[IGNORE]) if task.categorical else {}
            self.stored[name] = StoredLabels(f"PseudoLabels.tasks['{name}']", task, form, str(folder))
        if not any(files.values()):
            raise NotFoundError(
                f'PseudoLabels: no labels of {list(self.tasks)} in {self.predictions}: '
                f'mmmtl predict ... --as-labels writes them'
            )
        samples = []
        for number, leaf in enumerate(self.leaves):
            for index in range(len(leaf)):
                info = leaf.get_data_info(index)
                own = leaf.before_ids + info['sample_id']
                found = {n: str(paths[safe_name(own)]) for n, paths in files.items() if safe_name(own) in paths}
                if found:
                    sources = tuple(self.tasks[n].source for n in found)
                    frames = {key: info[key] for key in ('img_path', 'next_path') if key in info}
                    place = dict(leaf=number, place=index, pseudo_paths=found, available=sources)
                    samples.append(dict(frames, sample_id=own, **place))
        return samples

    def sources(self) -> list[str]:
        return sorted({task.source for task in self.tasks.values()})

    def load_image(self, info: dict) -> np.ndarray:
        leaf = self.leaves[info['leaf']]
        own = leaf.get_data_info(info['place'])
        with leaf.files_of(own):  # by the storage of that data set, or out of its shards
            return leaf.load_image(own)

    def load_next_image(self, info: dict) -> np.ndarray:
        leaf = self.leaves[info['leaf']]
        own = leaf.get_data_info(info['place'])
        with leaf.files_of(own):
            return leaf.load_next_image(own)

    def label_file(self, info: dict, source: str) -> str:
        return next(
            (p for n, p in info['pseudo_paths'].items() if self.tasks[n].source == source), str(self.predictions)
        )

    def read_label(self, info: dict, task: Task) -> np.ndarray | None:
        path = info['pseudo_paths'].get(task.name)
        return None if path is None else self.stored[task.name].read(Path(path))


def without_labels(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """The config of a data set, or of several joined, that reads images alone."""
    config = dict(dataset)
    if 'dataset' in config:
        return without_labels(config['dataset'])
    if 'datasets' in config:
        return dict(config, datasets=[without_labels(part) for part in config['datasets']])
    for name in ('label_sampler', 'label_map_out', 'drop_unlabelled', 'leak_labels_to_crop'):
        config.pop(name, None)
    named = [step for step in config.get('pipeline', ()) if 'PrefixSampleId' in str(step)]  # it belongs to the ids
    return dict(config, pipeline=named, allow_unlabelled=True)
