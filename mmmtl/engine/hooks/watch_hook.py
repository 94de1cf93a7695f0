"""What slows a run down or throws it off is told in the log: waiting for data, exchanging gradients, leaps of a loss."""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import Any

import torch
from mmengine.hooks import Hook
from torch import Tensor

from mmmtl.engine.communication import CommunicationClock
from mmmtl.registry import HOOKS


@HOOKS.register_module()
class WatchHook(Hook):
    """Watches the clock and the losses of a training.

    Over every ``interval`` the shares of time that went into waiting for data (``data_share``) and, with several processes,
    into the exchange of gradients (``communication_share``, part of which runs beside the computation) are logged.

    Args:
        interval: Iterations over which the share of time that is spent on waiting for data is taken.
        share: A warning is given above it.
        stall: Seconds of waiting for one batch after which that is told, if it is also ten times what is usual.
        spike: A loss this many times its median over the last ``interval`` iterations is told.
    """

    priority = 'LOWEST'  # what others do after an iteration, such as saving, is no waiting for data

    def __init__(self, interval: int = 50, share: float = 0.5, stall: float = 10.0, spike: float = 20.0) -> None:
        self.interval, self.share, self.stall, self.spike = interval, share, stall, spike
        self._waits: deque[float] = deque(maxlen=interval)
        self._losses: dict[str, deque[float]] = {}
        self._ended = self._window_start = 0.0
        self._waited = self._total_waited = self._total = self._total_sent = 0.0
        self._sending: CommunicationClock | None = None

    def before_train(self, runner: Any) -> None:
        """Start the clocks."""
        clock = CommunicationClock()
        self._sending = clock if clock.attach(runner.model) else None
        self._ended = self._window_start = time.perf_counter()

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        """Take the time since the last iteration ended, which is that of waiting for data."""
        wait = time.perf_counter() - self._ended
        usual = statistics.median(self._waits) if self._waits else 0.0
        if self._waits and wait > self.stall and wait > 10 * usual:
            runner.logger.warning(
                f'Iteration {runner.iter + 1} waited {wait:.0f} s for its batch (usually {usual:.2f} s).'
            )
        self._waits.append(wait)
        self._waited += wait

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Look at the losses, and once per interval at the clock."""
        losses = {n: v.detach().float() for n, v in (outputs or {}).items() if 'loss' in n and isinstance(v, Tensor)}
        for name, value in zip(losses, torch.stack([*losses.values()]).tolist() if losses else ()):
            self._look_at(runner, name, value)
        if (runner.iter + 1) % self.interval == 0:
            spent = time.perf_counter() - self._window_start
            self._total_waited, self._total = self._total_waited + self._waited, self._total + spent
            share = self._waited / max(spent, 1e-9)
            runner.message_hub.update_scalar('train/data_share', share)
            if self._sending is not None:
                sent = self._sending.seconds()
                self._total_sent += sent
                runner.message_hub.update_scalar('train/communication_share', sent / max(spent, 1e-9))
            if share > self.share:
                runner.logger.warning(
                    f'{share:.0%} of the last {self.interval} iterations went into waiting for data: more '
                    f'train_dataloader.num_workers, faster disks or smaller images help.'
                )
            self._waited, self._window_start = 0.0, time.perf_counter()
        self._ended = time.perf_counter()

    def _look_at(self, runner: Any, name: str, value: float) -> None:
        known = self._losses.setdefault(name, deque(maxlen=self.interval))
        usual = statistics.median(known) if len(known) == self.interval else 0.0
        if usual > 0 and value > self.spike * usual:
            runner.logger.warning(
                f'Iteration {runner.iter + 1}: {name} is {value:.3g}, {value / usual:.0f} times its median of the last '
                f'{self.interval} iterations.'
            )
        known.append(value)

    def after_val(self, runner: Any) -> None:
        """Validation is no waiting for data."""
        self._ended = time.perf_counter()
        self._window_start, self._waited = self._ended, 0.0
        if self._sending is not None:
            self._sending.seconds()

    def after_train(self, runner: Any) -> None:
        """Tell the share of the whole run."""
        if self._total:
            sent = (
                '' if self._sending is None else f', and {self._total_sent / self._total:.0%} into exchanging gradients'
            )
            runner.logger.info(
                f'{self._total_waited / self._total:.0%} of the training went into waiting for data{sent}.'
            )
