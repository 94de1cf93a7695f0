"""Several datasets as one, each with its own tasks and pipeline."""

from __future__ import annotations

from collections.abc import Sequence

from mmengine.dataset import ConcatDataset

from mmmtl.errors import ConfigError
from mmmtl.registry import DATASETS
from mmmtl.tasks import Task

from .base import MTLDataset


@DATASETS.register_module()
class MixedDataset(ConcatDataset):
    """Datasets one after the other. They may label different tasks and give images of different sizes.

    Batches must hold samples that stack: one task and one dataset each with ``TaskCycleBatchSampler``.

    Args:
        datasets: Configs or datasets.
        lazy_init: Do not read the sample lists yet.

    Raises:
        ConfigError: Two datasets understand the same task differently.
    """

    def __init__(self, datasets: Sequence[MTLDataset | dict], lazy_init: bool = False) -> None:
        built = [DATASETS.build(d) if isinstance(d, dict) else d for d in datasets]
        if not built:
            raise ConfigError('MixedDataset: datasets is empty')
        self.tasks: dict[str, Task] = {}
        for dataset in built:
            for name, task in dataset.tasks.items():
                first = self.tasks.setdefault(name, task)
                if type(first) is not type(task) or first.out_channels != task.out_channels:
                    raise ConfigError(
                        f"MixedDataset: task '{name}' is {first!r} for one dataset and {task!r} for "
                        f'{type(dataset).__name__}'
                    )
        keys = {key for dataset in built for key in dataset.metainfo}
        super().__init__(built, lazy_init=lazy_init, ignore_keys=sorted(keys))

    @property
    def metainfo(self) -> dict:
        """Meta information of the first dataset, with the tasks of all."""
        return dict(self._metainfo, tasks=self.tasks, dataset=type(self).__name__)
