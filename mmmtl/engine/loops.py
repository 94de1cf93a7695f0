"""The training loop by iterations; a resumed run goes on in the data where it stopped, at no cost."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import Any

from mmengine.runner import IterBasedTrainLoop
from mmengine.runner.base_loop import BaseLoop
from mmengine.runner.utils import calc_dynamic_intervals
from torch.utils.data import DataLoader

from mmmtl.engine.hooks.interrupt_hook import VALIDATION_DUE
from mmmtl.engine.updates import (
    batches_per_update,
    compare_updates,
    gather_batches,
    join_batches,
    mean_outputs,
    warn_of_statistics,
)
from mmmtl.errors import ConfigError
from mmmtl.registry import LOOPS

STREAM_KEY = 'train_stream'


def stop_workers(loader: Any) -> None:
    """End the persistent workers of a data loader now; they start again with its next iteration.

    Left to the garbage collector, which runs when queues may be gone already, torch waits 5 seconds for each worker.
    """
    if getattr(loader, '_iterator', None) is not None:
        loader._iterator = None


@LOOPS.register_module()
class ResumableTrainLoop(IterBasedTrainLoop):
    """mmengine's ``IterBasedTrainLoop``, resumed in the time of one batch instead of that of all past ones.

    The place in the training stream (samples consumed over all ranks, and the sampler's seed) is kept in the message
    hub, thus in every checkpoint. A resumed run starts a sampler or batch sampler that has ``set_start``
    (:class:`ResumableSampler`) there; with any other, past batches are loaded and dropped as mmengine does.

    Every batch is announced to the hooks with its place in the stream (``before_batch(runner, first, rows)``), from which
    :class:`RandomStateHook` seeds what is random in it.

    Args:
        runner: The runner.
        dataloader: The training data loader or its config.
        max_iters: Iterations to train, > 0. With ``optim_wrapper.accumulative_counts`` these are batches, not updates.
        val_begin: Iteration from which on to validate.
        val_interval: Iterations between validations (default: 1000); epochs, where ``max_epochs`` sets the length of the run
            (default: 1).
        max_epochs: Passes over the data set to train, each of as many iterations as there are whole batches over all
            processes; ``max_iters``, if given, has precedence.
        dynamic_intervals: [(iteration, interval), ...] changes of the interval.
        accumulation: Batches of every process that make an iteration: their gradients are added up, and the optimiser,
            the schedules and all intervals count one step. ``optim_wrapper.accumulative_counts`` counts every batch as an
            iteration instead. Default 1; :func:`mmmtl.apis.train` chooses it by the config's total batch.
    """

    announces_batches = True

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        max_iters: int | None = None,
        val_begin: int = 1,
        val_interval: int | None = None,
        dynamic_intervals: list[tuple[int, int]] | None = None,
        max_epochs: int | None = None,
        accumulation: int | None = None,
    ):
        # Not IterBasedTrainLoop's own __init__: it starts the data loader, before the place to start at is known.
        BaseLoop.__init__(self, runner, dataloader)
        if accumulation is not None and (not isinstance(accumulation, int) or accumulation < 1):
            raise ConfigError(f'train_cfg.accumulation must be a whole number > 0, got {accumulation!r}')
        self.accumulation = accumulation or 1
        if val_interval is None:
            val_interval = 1 if max_iters is None and max_epochs is not None else 1000
        if max_iters is None and max_epochs is not None:
            epoch_length = max(1, len(self.dataloader.dataset) // self.samples_per_iter)
            max_iters, val_interval = max_epochs * epoch_length, val_interval * epoch_length
        if not isinstance(max_iters, (int, float)) or int(max_iters) != max_iters or max_iters < 1:
            raise ConfigError(f'train_cfg.max_iters must be a whole number > 0, got {max_iters!r}')
        if not isinstance(val_interval, int) or val_interval < 1:
            raise ConfigError(
                f'train_cfg.val_interval must be a whole number > 0, got {val_interval!r}; a run without validation has '
                f'val_cfg=None, val_dataloader=None, val_evaluator=None'
            )
        self._max_iters, self._max_epochs = int(max_iters), 1
        self._epoch = self._iter = 0
        self._begun = 0  # samples consumed before the iteration at work
        self._gathers = False  # whether the optimiser knows of the accumulation
        self.val_begin, self.val_interval = val_begin, val_interval
        self.stop_training = False  # set by EarlyStoppingHook
        self.runner.visualizer.dataset_meta = getattr(self.dataloader.dataset, 'metainfo', None)
        self.dynamic_milestones, self.dynamic_intervals = calc_dynamic_intervals(val_interval, dynamic_intervals)

    @property
    def samples_per_iter(self) -> int:
        """int: Samples that one iteration consumes, over all ranks."""
        return self.dataloader.batch_sampler.batch_size * self.runner.world_size * self.accumulation

    @property
    def update(self) -> dict[str, int]:
        """dict: What makes an update: ``batches`` per iteration, ``iterations``, and ``samples`` over all processes."""
        iterations = batches_per_update(self.runner.optim_wrapper) // (self.accumulation if self._gathers else 1)
        return dict(batches=self.accumulation, iterations=iterations, samples=self.samples_per_iter * iterations)

    @property
    def stream(self) -> Any:
        """The sampler, or batch sampler, that the order of the data comes from."""
        batches = self.dataloader.batch_sampler
        return batches if hasattr(batches, 'set_start') else getattr(batches, 'sampler', self.dataloader.sampler)

    def _start_stream(self) -> int:
        """Point the sampler at the first batch to train on; return the samples consumed before it."""
        sampler = self.stream
        if hasattr(sampler, 'deal'):
            sampler.deal(self.dataloader.batch_sampler.batch_size, self.accumulation)
        place = self.runner.message_hub.runtime_info.get(STREAM_KEY) if self._iter > 0 else None
        if place is None:  # a fresh run, or a checkpoint of another loop
            place = dict(consumed=self._iter * self.samples_per_iter, seed=getattr(sampler, 'seed', None))
        compare_updates(place, self.update, self.runner.logger)
        warn_of_statistics(place, self.runner)
        if not hasattr(sampler, 'set_start'):
            return place['consumed']
        sampler.seed = place['seed']
        sampler.set_start(place['consumed'])
        if self._iter > 0:
            self.runner.logger.info(
                f'The training data goes on at sample {place["consumed"]} of the stream '
                f'(iteration {self._iter}); nothing is loaded again.'
            )
        return place['consumed']

    def _batches(self, started: Iterator[Any]) -> Generator[Any, None, None]:
        """Yield batches without end; a data loader that has one is started again for the next pass."""
        passes = 0
        while True:
            none = True
            for batch in started:
                none = False
                yield batch
            if none:
                raise ConfigError(
                    f'train_dataloader gives no batch: {len(self.dataloader.dataset)} samples do not fill one of '
                    f'{self.dataloader.batch_sampler.batch_size} in each of {self.runner.world_size} processes, and '
                    f'drop_last leaves out the rest: make batch_size smaller, or set drop_last=False'
                )
            passes += 1
            if hasattr(self.stream, 'set_epoch'):
                self.stream.set_epoch(passes)
            started = iter(self.dataloader)

    def run(self) -> Any:
        """Train; return the model."""
        consumed = self._start_stream()
        update, processes = self.update, self.runner.world_size
        if self.accumulation > 1 and not self._gathers:
            gather_batches(self.runner.optim_wrapper, self.runner.model, self.accumulation, self._iter, self._max_iters)
            self._gathers = True
        # Starting the workers draws a random number: done before the hooks, one of which restores the random state.
        batches = self._batches(iter(self.dataloader))
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self._replay(batches)
        if self._iter >= self._max_iters:
            self.runner.logger.info(
                f'The run is complete: {self._iter} of {self._max_iters} iterations are done, nothing is left to train. A '
                f'larger max_iters trains on.'
            )
        if self.runner.message_hub.runtime_info.pop(VALIDATION_DUE, False) and self.runner.val_loop is not None:
            self.runner.val_loop.run()  # a signal had cut it off
        while self._iter < self._max_iters and not self.stop_training:
            self.runner.model.train()
            together = [next(batches) for _ in range(self.accumulation)]
            consumed += self.samples_per_iter
            place = dict(consumed=consumed, seed=getattr(self.stream, 'seed', None), processes=processes, **update)
            self.runner.message_hub.update_info(STREAM_KEY, place)
            self._begun = consumed - self.samples_per_iter
            self.run_iter(together)
            self._decide_current_val_interval()
            if (
                self.runner.val_loop is not None
                and self._iter >= self.val_begin
                and (self._iter % self.val_interval == 0 or self._iter == self._max_iters)
            ):
                self.runner.val_loop.run()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        batches.close()
        for loop in (self, self.runner.val_loop):
            stop_workers(getattr(loop, 'dataloader', None))
        return self.runner.model

    def _announce(self, consumed: int, number: int = 0) -> None:
        """Tell the hooks which samples come: batch ``number`` of this process, ``consumed`` before the iteration."""
        rows = self.dataloader.batch_sampler.batch_size
        first = consumed + (number * self.runner.world_size + self.runner.rank) * rows
        self.runner.call_hook('before_batch', first=first, rows=rows)

    def run_iter(self, data_batch: Sequence[Any]) -> None:
        """Train on the batches of an iteration; hooks see their samples together, and the means of their losses."""
        joined = join_batches(data_batch)
        self.runner.call_hook('before_train_iter', batch_idx=self._iter, data_batch=joined)
        outputs = []
        for number, batch in enumerate(data_batch):
            self._announce(self._begun, number)
            outputs.append(self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper))
        means = mean_outputs(outputs)
        self.runner.call_hook('after_train_iter', batch_idx=self._iter, data_batch=joined, outputs=means)
        self._iter += 1

    def _replay(self, batches: Iterator[Any]) -> None:
        """Load and drop past batches, for a sampler that cannot start at a position."""
        if self._iter == 0 or hasattr(self.stream, 'set_start'):
            return
        self.runner.logger.warning(
            f'{type(self.stream).__name__} cannot start at a position: loading {self._iter * self.accumulation} past '
            f"batches. Use sampler=dict(type='ResumableSampler') to resume at once."
        )
        for _ in range(self._iter * self.accumulation):
            next(batches)
