"""Polynomial decay in steps of an epoch, for loops that count iterations."""

from __future__ import annotations

from typing import Any

from mmengine.optim.scheduler.param_scheduler import INF, _ParamScheduler

from mmmtl.errors import ConfigError
from mmmtl.registry import PARAM_SCHEDULERS


@PARAM_SCHEDULERS.register_module()
class EpochPolyLR(_ParamScheduler):
    """Learning rate times (1 - e / ``epochs``) ** ``power``, e the number of whole epochs so far (DiffusionMTL).

    Args:
        optimizer: Filled in by the runner.
        epochs: After which the rate would be 0.
        epoch_length: Iterations of an epoch, at least 1; None: those between ``begin`` and ``end``, which the runner sets
            to the end of the run, shared out among the epochs.
        power: Exponent.
        begin, end: Iterations between which the rate is set; epochs count from ``begin``.
        by_epoch: Must be given, as False.
    """

    def __init__(
        self,
        optimizer: Any,
        epochs: int,
        epoch_length: int | None = None,
        power: float = 0.9,
        begin: int = 0,
        end: int = INF,
        by_epoch: bool = True,
        last_step: int = -1,
        verbose: bool = False,
    ) -> None:
        if by_epoch:
            # mmengine takes its own default, True, for granted when it fills in `end`
            raise ConfigError('EpochPolyLR counts iterations: say by_epoch=False')
        if epoch_length is None:
            if end == INF:
                raise ConfigError('EpochPolyLR: give epoch_length, or an end to share out among the epochs')
            epoch_length = max(1, (end - begin) // max(1, epochs))
        if epochs < 1 or epoch_length < 1 or power <= 0:
            raise ConfigError(
                f'EpochPolyLR: epochs, epoch_length and power must be positive, got {epochs}, '
                f'{epoch_length} and {power}'
            )
        self.epochs, self.epoch_length, self.power = epochs, epoch_length, power
        super().__init__(
            optimizer, param_name='lr', begin=begin, end=end, by_epoch=False, last_step=last_step, verbose=verbose
        )

    def _get_value(self) -> list[float]:
        share = max(0.0, 1 - self.last_step // self.epoch_length / self.epochs)
        return [value * share**self.power for value in self.base_values]
