"""A look at the labels before training, and at losses that stay at zero: wrong labels rarely raise an error."""

from __future__ import annotations

import logging
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from mmmtl.datasets.statistics import leaf_datasets, sample_values
from mmmtl.registry import HOOKS


@HOOKS.register_module()
class LabelValuesHook(Hook):
    """Writes what some labels of the training set hold into the log, and warns of a labelled task without a loss.

    Args:
        labels: Labels of every task that are looked at; 0 for none.
        seconds: Time for that.
        zero_iterations: Warn when the loss of a task was exactly 0 in so many iterations with labels of it.
    """

    def __init__(self, labels: int = 24, seconds: float = 5.0, zero_iterations: int = 20) -> None:
        self.labels, self.seconds, self.zero_iterations = int(labels), float(seconds), int(zero_iterations)
        self._iterations: dict[str, int] = {}
        self._learned: dict[str, Tensor] = {}
        self._warned: set[str] = set()

    def before_train(self, runner: Any) -> None:
        """Print the table and what is suspicious in it."""
        if not self.labels or not is_main_process():
            return
        for dataset in leaf_datasets(runner.train_dataloader.dataset):
            values = sample_values(dataset, self.labels, self.seconds)
            runner.logger.info(f'labels of {type(dataset).__name__} (a sample):\n{values.table()}')
            for line in values.warnings():
                runner.logger.warning(line)
        self._tell_shared(runner)

    @staticmethod
    def _tell_shared(runner: Any) -> None:
        """Warn of images of the validation that are images of the training, too."""
        if getattr(runner, '_val_loop', None) is None:
            return
        trained, validated = (
            {
                place
                for data in leaf_datasets(loop.dataloader.dataset)
                if data.compares_ids
                for _, place in data.places()
            }
            for loop in (runner.train_loop, runner.val_loop)
        )
        shared = sorted((trained & validated) - {'', 'None'})
        if shared:
            runner.logger.warning(
                f'{len(shared)} of {len(validated)} images of the validation are images of the training, too, for example '
                f'{shared[0]}: its metrics do not tell how well the network does on others (is a split_file missing?)'
            )

    def after_train_iter(
        self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: dict[str, Any] | None = None
    ) -> None:
        """Count the iterations in which a labelled task had a loss of exactly 0."""
        samples = data_batch.get('data_samples') if isinstance(data_batch, dict) else None
        labelled = {name for sample in samples or () for name in getattr(sample, 'labeled_tasks', ())}
        for name in labelled - self._warned:
            losses = [v for k, v in (outputs or {}).items() if k.rsplit('.', 1)[-1] == f'loss_{name}']
            if not losses:
                continue
            learned = torch.stack([torch.as_tensor(v).detach() != 0 for v in losses]).any()
            self._learned[name] = self._learned[name] | learned if name in self._learned else learned
            self._iterations[name] = self._iterations.get(name, 0) + 1
            if self._iterations[name] >= self.zero_iterations:
                if not bool(self._learned.pop(name)):
                    self._warned.add(name)
                    runner.logger.log(
                        logging.WARNING,
                        f"task '{name}': its loss was exactly 0 in {self.zero_iterations} iterations with labels of it: "
                        'are all its pixels unknown, or its loss_weight 0? See tools/misc/verify_dataset.py',
                    )
                self._iterations[name] = 0
