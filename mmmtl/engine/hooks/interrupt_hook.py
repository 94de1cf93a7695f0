"""A run that is asked to stop finishes its iteration, saves on all ranks, and says where."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import torch
from mmengine.device import get_device
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import CheckpointHook, EMAHook, Hook

from mmmtl.registry import HOOKS

SIGNALS = (signal.SIGTERM, signal.SIGINT, *([signal.SIGUSR1] if hasattr(signal, 'SIGUSR1') else []))
VALIDATION_DUE = 'validation_due'
_received: list[tuple[int, float]] = []


class Interrupted(SystemExit):
    """Training was asked to stop; the exit status is 130 after Ctrl-C and 143 otherwise."""


def _receive(number: int, frame: FrameType | None) -> None:
    """Note a signal; a second one ends the process at once."""
    now = time.monotonic()
    # torchrun passes on to its processes what a terminal has sent them already
    same = 5.0 if 'TORCHELASTIC_RUN_ID' in os.environ else 0.05
    if _received and now - _received[0][1] > same:
        os._exit(exit_status(number))
    if not _received:
        _received.append((number, now))


def exit_status(number: int) -> int:
    """The status that a shell reports of a program ended by this signal; Slurm's warning counts as SIGTERM."""
    return 130 if number == signal.SIGINT else 143


@contextmanager
def catch_signals() -> Iterator[None]:
    """Within it, the first SIGTERM, SIGINT or SIGUSR1 is noted for :class:`InterruptHook`; a second one ends at once."""
    _received.clear()
    try:
        before = {number: signal.signal(number, _receive) for number in SIGNALS}
    except ValueError:  # only the main thread may; elsewhere signals keep their meaning
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _over_ranks(number: int, operation: str) -> int:
    """The largest or smallest of every rank's number."""
    if get_world_size() == 1:
        return number
    agreed = torch.tensor(number, device=get_device())
    all_reduce(agreed, operation)
    return int(agreed)


@HOOKS.register_module()
class InterruptHook(Hook):
    """Ends training after the iteration, or the batch of validation, in which a signal came (:func:`catch_signals`).

    The ranks agree after every one; one that got a signal stops them all. A checkpoint is saved as the schedule would
    have saved it, so that a resumed run is the unbroken one; a validation that was cut off is made up for by the resumed
    run. Where checkpoints are those of whole epochs none is added: a resumed run begins the last epoch again.
    """

    priority = 'LOWEST'  # after everything that belongs to the iteration

    def __init__(self) -> None:
        self._common = 0

    def before_val_epoch(self, runner: Any) -> None:
        """Count the batches that every rank has, after each of which they can agree."""
        self._common = _over_ranks(len(runner.val_dataloader), 'min')

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop if a rank was asked to."""
        self._stop_if_asked(runner, runner.iter + 1)

    def after_val_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Stop if a rank was asked to; the validation is due again."""
        if batch_idx < self._common and getattr(runner, '_train_loop', None) is not None:
            self._stop_if_asked(runner, runner.iter, validating=True)

    def _stop_if_asked(self, runner: Any, step: int, validating: bool = False) -> None:
        number = _over_ranks(_received[0][0] if _received else 0, 'max')
        if not number:
            return
        if validating:
            for hook in runner.hooks:
                if isinstance(hook, EMAHook):  # the averaged weights are in the network's place
                    hook._swap_ema_parameters()
            runner.message_hub.update_info(VALIDATION_DUE, True)
        name = signal.Signals(number).name
        hook = next((hook for hook in runner.hooks if isinstance(hook, CheckpointHook)), None)
        if hook is None or not hasattr(hook, 'save_now'):
            runner.logger.warning(f'{name}: the run ends after {step} iterations; no hook saves checkpoints.')
        elif hook.by_epoch:  # a loop that counts epochs cannot start within one
            saved = f'goes on from {hook.last_ckpt}' if hook.last_ckpt else 'begins anew, for no epoch is complete'
            runner.logger.warning(f'{name}: the run ends after {step} iterations; --resume {saved}.')
        else:
            path = hook.save_now(runner, step, anew=validating)
            runner.logger.warning(f'{name}: saved {path} after {step} iterations; --resume goes on from there.')
        raise Interrupted(exit_status(number))
