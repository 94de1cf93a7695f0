"""The learning rate of one-step latent diffusion: linear warm-up from zero, then exponential decay to a floor."""

from __future__ import annotations

import math
from typing import Any

from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from mmmtl.errors import ConfigError
from mmmtl.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class WarmupExponentialLR(_ParamScheduler):
    """Factor of the learning rate at iteration i: i / ``warmup`` before ``warmup``; ``final`` from ``decay_end`` on;
    between them it falls exponentially from 1 to ``final``.

    Iterations are batches: with ``accumulative_counts`` = n, give n times the numbers meant in updates.

    Args:
        optimizer: Filled in by the runner.
        decay_end: Iteration at which the floor is reached.
        final: The floor, in (0, 1].
        warmup: Iterations of warm-up, at least 1; the very first iteration has a learning rate of 0.
        begin, end: Iterations between which the rate is set; i counts from ``begin``.
        by_epoch: Must be given, as False.
    """

    def __init__(
        self,
        optimizer: Any,
        decay_end: int,
        final: float = 0.01,
        warmup: int = 100,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        last_step: int = -1,
        verbose: bool = False,
    ) -> None:
        if by_epoch:
            # mmengine takes its own default, True, for granted when it fills in `end`
            raise ConfigError('WarmupExponentialLR counts iterations: say by_epoch=False')
        if not 0 < final <= 1 or warmup < 1 or decay_end < 1:
            raise ConfigError(
                f'WarmupExponentialLR: expected 0 < final <= 1, warmup >= 1 and decay_end >= 1, got '
                f'final={final}, warmup={warmup}, decay_end={decay_end}'
            )
        self.decay_end, self.final, self.warmup = decay_end, final, warmup
        super().__init__(
            optimizer, param_name='lr', begin=begin, end=end, by_epoch=False, last_step=last_step, verbose=verbose
        )

    def factor(self, step: int) -> float:
        """Factor of the initial learning rate at iteration ``step``."""
        if step < self.warmup:
            return step / self.warmup
        if step >= self.decay_end:
            return self.final
        return math.exp(math.log(self.final) * (step - self.warmup) / (self.decay_end - self.warmup))

    def _get_value(self) -> list[float]:
        # from the initial value, not from the last one: nothing can be multiplied up from zero
        return [value * self.factor(self.last_step) for value in self.base_values]
