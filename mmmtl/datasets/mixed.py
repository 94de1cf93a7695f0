"""Several datasets as one, each with its own tasks and pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine import dataset as mmengine_dataset
from mmengine.dataset import BaseDataset

from mmmtl.errors import ConfigError
from mmmtl.registry import DATASETS
from mmmtl.tasks import Task

from .base import MTLDataset
from .statistics import leaf_datasets


@DATASETS.register_module(name=['MixedDataset', 'ConcatDataset'])
class MixedDataset(mmengine_dataset.ConcatDataset):
    """Datasets one after the other. They may label different tasks and give images of different sizes.

    It also is what configs call ``ConcatDataset``. Where two data sets call different images alike, the sample ids of
    every set but the first get its number before them (``1/ID``), so that each image is measured.

    Batches must hold samples that stack: one task and one dataset each with ``TaskCycleBatchSampler``.

    Args:
        datasets: Configs or datasets.
        lazy_init: Do not read the sample lists yet.
        weights: Shares of the datasets in a training stream (``ResumableSampler``), and of those that label a task in that
            task's batches (``TaskCycleBatchSampler``); default: each sample as often as the others.

    Raises:
        ConfigError: Weights that do not fit. Two datasets understand the same task differently.
    """

    def __init__(
        self, datasets: Sequence[MTLDataset | dict], lazy_init: bool = False, weights: Sequence[float] | None = None
    ) -> None:
        built = [_built(d) for d in datasets]
        if not built:
            raise ConfigError('MixedDataset: datasets is empty')
        numbers = [
            w
            for w in weights or ()
            if isinstance(w, (int, float)) and not isinstance(w, bool) and 0 <= w < float('inf')
        ]
        if weights is not None and (len(numbers) != len(built) or len(weights) != len(built) or sum(numbers) <= 0):
            raise ConfigError(f'MixedDataset: expected {len(built)} weights of at least 0, one above, got {weights!r}')
        self.weights = None if weights is None else numbers
        self.tasks: dict[str, Task] = {}
        self.measured_alike: list[str] = []
        for dataset in built:
            if not hasattr(dataset, 'tasks') or not isinstance(dataset, BaseDataset):
                raise ConfigError(
                    f'MixedDataset: {type(dataset).__name__} holds a data set and cannot be joined itself: join what '
                    'it holds, and say weights, or put it around the MixedDataset'
                )
            for name, task in dataset.tasks.items():
                first = self.tasks.setdefault(name, task)
                if type(first) is not type(task) or first.out_channels != task.out_channels:
                    raise ConfigError(
                        f"MixedDataset: task '{name}' is {first!r} for one dataset and {task!r} for "
                        f'{type(dataset).__name__}'
                    )
                if dataset.test_mode and task.metrics != first.metrics:
                    self.measured_alike.append(
                        f"MixedDataset: task '{name}' of {type(dataset).__name__} is measured as that of the data sets before "
                        f'it, by {first.metrics}, and not by its own {task.metrics}: give the tasks different names'
                    )
                names, others = (getattr(t, 'classes', None) for t in (first, task))
                if names != others:
                    raise ConfigError(
                        f"MixedDataset: task '{name}' has other classes, or another order of them, for "
                        f'{type(dataset).__name__} than for the data sets before it: {others} instead of {names}. Bring the '
                        f'labels to one list (formats with values), or give the tasks different names'
                    )
        keys = {key for dataset in built for key in dataset.metainfo}
        super().__init__(built, lazy_init=lazy_init, ignore_keys=sorted(keys))

    def full_init(self) -> None:
        """Read the sample lists, and keep the ids of different data sets apart."""
        super().full_init()
        keep_apart(list(leaf_datasets(self)))

    def get_data_info(self, idx: int) -> dict:
        """The sample's description, with the id that it has among all data sets."""
        info = super().get_data_info(idx)
        dataset, _ = self._get_ori_dataset_idx(idx)
        return dict(info, sample_id=getattr(self.datasets[dataset], 'before_ids', '') + info['sample_id'])

    @property
    def metainfo(self) -> dict:
        """Meta information of the first dataset, with the tasks of all, and what to say where one metric measures them."""
        told = dict(measured_alike=self.measured_alike) if self.measured_alike else {}
        return dict(self._metainfo, tasks=self.tasks, dataset=type(self).__name__, **told)


def sample_id_of(dataset: Any, index: int) -> str:
    """The id that a sample has when it leaves a data set, or several that are joined, with all that stands before it."""
    return f'{getattr(dataset, "before_ids", "")}{dataset.get_data_info(index).get("sample_id")}'


def keep_apart(datasets: Sequence[MTLDataset]) -> None:
    """Give data sets an ``id_prefix`` where they would call different images, or images of a test, alike.

    One that is too large for its ids to be compared, and those after it, get theirs in any case.
    """
    seen: dict[str, str] = {}
    compared = True
    for number, dataset in enumerate(datasets):
        compared = compared and dataset.compares_ids
        if not compared:
            dataset.id_prefix = f'{number}/' if number else ''
            continue
        places = dict(dataset.places())
        while True:
            before = dataset.before_ids
            own = {before + i: place for i, place in places.items()}
            if not any(i in seen and (dataset.test_mode or seen[i] != place) for i, place in own.items()):
                break
            dataset.id_prefix += f'{number}/'
        seen |= own


def _built(dataset: Any) -> Any:
    """The data set of a config, looked up in this package's registry first."""
    return DATASETS.build(dataset) if isinstance(dataset, dict) else dataset


@DATASETS.register_module()
class RepeatDataset(mmengine_dataset.RepeatDataset):
    """mmengine's: a data set several times in one epoch."""

    def __init__(self, dataset: MTLDataset | dict, times: int, lazy_init: bool = False) -> None:
        if isinstance(times, bool) or not isinstance(times, int) or times < 1:
            raise ConfigError(f'RepeatDataset: times must be a whole number of at least 1, got {times!r}')
        super().__init__(_built(dataset), times, lazy_init)


@DATASETS.register_module()
class ClassBalancedDataset(mmengine_dataset.ClassBalancedDataset):
    """mmengine's: samples of rare classes more often; the classes are those of :meth:`MTLDataset.get_cat_ids`."""

    def __init__(self, dataset: MTLDataset | dict, oversample_thr: float, lazy_init: bool = False) -> None:
        super().__init__(_built(dataset), oversample_thr, lazy_init)

    def _get_ori_dataset_idx(self, idx: int) -> int:
        return idx - (int(idx) - super()._get_ori_dataset_idx(idx))  # so that an index that knows its draw keeps it
