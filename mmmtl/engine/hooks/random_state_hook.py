"""A resumed run draws the random numbers that the unbroken run would have drawn."""

from __future__ import annotations

from typing import Any

from mmengine.dist import all_gather_object, broadcast_object_list
from mmengine.hooks import Hook

from mmmtl.engine import random_state
from mmmtl.registry import HOOKS
from mmmtl.utils.models import unwrap_model

KEY = 'random_state'


@HOOKS.register_module()
class RandomStateHook(Hook):
    """Saves the random state of every rank in each checkpoint, and restores it when training is resumed.

    Covered are the global generators of torch (CPU and the current GPU), numpy and Python, and the generator of every
    ``noise_source`` in the model. :class:`ResumableTrainLoop` announces every batch with its place in the stream of
    samples (``before_batch``), by which all of them are seeded anew: a resumed run is the unbroken one bit for bit, and
    a batch meets the same noise on any number of processes. With other loops the saved states are what a resumed run
    goes on with; noise generators are seeded with the run's seed + rank before training. Validation is kept from moving
    any generator, so that how often one validates does not change what is trained.

    In distributed runs :class:`AtomicCheckpointHook` announces each save to all ranks (``before_checkpoint``); with
    another checkpoint hook the state of rank 0 alone is saved.
    """

    priority = 'VERY_LOW'  # after the other hooks, which may draw

    def __init__(self) -> None:
        self._resuming = False
        self._loaded: dict[str, Any] | None = None
        self._gathered: list[dict[str, Any]] | None = None
        self._before_val: dict[str, Any] | None = None
        self._seed = 0

    def before_train(self, runner: Any) -> None:
        """Seed the model's noise generators."""
        random_state.seed_noise(unwrap_model(runner.model), runner.seed + runner.rank)
        self._resuming = runner.iter > 0
        seed = [runner.seed]  # that of the first process, which diff_rank_seed leaves as it is
        broadcast_object_list(seed)
        self._seed = seed[0]

    def before_batch(self, runner: Any, first: int, rows: int) -> None:
        """Seed all generators for the samples ``first`` .. ``first`` + ``rows`` - 1 of the training stream."""
        random_state.seed_batch(unwrap_model(runner.model), self._seed, first, rows)

    def before_train_epoch(self, runner: Any) -> None:
        """Restore the loaded state, once, if this training is a resumed one."""
        resuming, loaded = self._resuming, self._loaded
        self._resuming, self._loaded = False, None
        if not resuming or getattr(runner.train_loop, 'announces_batches', False):
            return
        if loaded is None:
            self._warn(runner, 'the checkpoint holds no random state')
        elif runner.rank >= len(loaded['ranks']):
            self._warn(
                runner,
                f'the checkpoint holds the random state of {len(loaded["ranks"])} rank(s), this is '
                f'rank {runner.rank} of {runner.world_size}',
            )
        else:
            unknown = random_state.restore(loaded['ranks'][runner.rank], unwrap_model(runner.model))
            if unknown:
                self._warn(runner, f'the checkpoint holds no state for the noise sources of {unknown}')

    @staticmethod
    def _warn(runner: Any, reason: str) -> None:
        runner.logger.warning(
            f'Resuming with fresh random numbers: {reason}. Training goes on correctly, but not as '
            f'the unbroken run would have.'
        )

    def before_val(self, runner: Any) -> None:
        """Remember the state that training will go on with."""
        self._before_val = random_state.capture(unwrap_model(runner.model))

    def after_val(self, runner: Any) -> None:
        """Go back to it."""
        if self._before_val is not None:
            random_state.restore(self._before_val, unwrap_model(runner.model))
        self._before_val = None

    def _current(self, runner: Any) -> dict[str, Any]:
        return self._before_val or random_state.capture(unwrap_model(runner.model))

    def before_checkpoint(self, runner: Any) -> None:
        """Bring the states of all ranks together; every rank calls this, just before rank 0 saves."""
        self._gathered = all_gather_object(self._current(runner))

    def before_save_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Put the states into the checkpoint."""
        checkpoint[KEY] = {'ranks': self._gathered or [self._current(runner)]}
        self._gathered = None

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep the states until training starts."""
        self._loaded = checkpoint.get(KEY)
        if self._loaded is not None and not all('torch' in state for state in self._loaded['ranks']):
            raise KeyError('torch')
