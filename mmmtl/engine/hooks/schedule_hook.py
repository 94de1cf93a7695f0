"""A resumed run follows the schedule of its config, also where the checkpoint was trained by another one."""

from __future__ import annotations

import warnings
from itertools import zip_longest
from typing import Any

from mmengine.hooks import ParamSchedulerHook
from mmengine.optim import _ParamScheduler

from mmmtl.registry import HOOKS

PLACE = {'_global_step', 'last_step', '_last_value', 'verbose'}  # of a scheduler's state; the rest are its settings


def _flat(found: Any) -> list[Any]:
    """Schedulers, or their states, of one optimiser or of several, in one list."""
    lists = found.values() if isinstance(found, dict) else [found or []]
    return [one for several in lists for one in several]


def _changes(own: dict[str, Any], saved: dict[str, Any]) -> list[str]:
    """The settings in which the states of two schedulers differ, as text."""
    keys = [k for k in {**own, **saved} if k not in PLACE and own.get(k) != saved.get(k)]
    return [f'{k}: {_short(saved.get(k))} -> {_short(own.get(k))}' for k in keys]


def _values(scheduler: _ParamScheduler) -> list[dict[str, float]]:
    """What a scheduler reads and writes in its optimiser: ``lr``, ``initial_lr``, ... of every parameter group."""
    name = scheduler.param_name
    groups = scheduler.optimizer.param_groups
    return [{k: v for k, v in group.items() if k == name or k.endswith(f'_{name}')} for group in groups]


def _short(value: Any) -> str:
    """A setting as text; a list with a number for every parameter group may be long."""
    return f'[{value[0]}, ... {len(value)} numbers]' if isinstance(value, list) and len(value) > 2 else str(value)


def _keep_zeros(runner: Any) -> None:
    """Groups that were to have a rate of 0 have it: a schedule with a smallest rate would raise them to that."""
    for scheduler in _flat(runner.param_schedulers):
        name = scheduler.param_name
        for group in scheduler.optimizer.param_groups:
            if group.get(f'initial_{name}') == 0 and name == 'lr':
                group[name] = 0.0


@HOOKS.register_module()
class ScheduleHook(ParamSchedulerHook):
    """mmengine's ``ParamSchedulerHook``, which a config with another schedule can resume.

    mmengine restores the schedulers with their settings: a run that is resumed with more iterations, or another initial
    learning rate, keeps the end and the rates of the old schedule, without a word. Here such a run goes on at the
    rates that its own config gives at that iteration, and the log says what has changed. With the same settings
    nothing is touched. Schedules that count epochs or look at metrics are left to mmengine.

    A parameter group whose rate is 0 (``lr_mult=0``) keeps it, whatever a schedule's smallest rate is.
    """

    def __init__(self) -> None:
        self._own: list[tuple[dict[str, Any], list[dict[str, float]]]] = []
        self._saved: list[dict[str, Any]] = []
        self._rates: list[float] = []

    def after_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Step the schedules that count iterations."""
        super().after_train_iter(runner, batch_idx, data_batch, outputs)
        _keep_zeros(runner)

    def after_train_epoch(self, runner: Any) -> None:
        """Step the schedules that count epochs."""
        super().after_train_epoch(runner)
        _keep_zeros(runner)

    def after_load_checkpoint(self, runner: Any, checkpoint: dict) -> None:
        """Keep what the config says, before the checkpoint's state replaces it, and what the checkpoint says."""
        schedulers = [s for s in _flat(runner.param_schedulers) if isinstance(s, _ParamScheduler)]
        self._own = [(dict(s.state_dict()), _values(s)) for s in schedulers]
        self._saved = _flat(checkpoint.get('param_schedulers'))
        groups = getattr(getattr(runner, 'optim_wrapper', None), 'param_groups', None)  # a sharded one comes later
        self._rates = [group['lr'] for group in groups] if isinstance(groups, list) else []

    def before_train(self, runner: Any) -> None:
        """Compare the settings; where they differ, walk through the config's own schedule up to the iteration."""
        self._follow_own_schedule(runner)
        _keep_zeros(runner)

    def _follow_own_schedule(self, runner: Any) -> None:
        own, saved, self._own, self._saved = self._own, self._saved, [], []
        schedulers = _flat(runner.param_schedulers)
        if runner.iter > 0 and saved and not schedulers and self._rates:
            groups = runner.optim_wrapper.param_groups
            runner.logger.warning(
                f'The checkpoint was trained by a schedule, and this config has none: lr is {self._rates[0]:.3g} from here '
                f'on, instead of {groups[0]["lr"]:.3g}.'
            )
            for group, rate in zip(groups, self._rates):
                group['lr'] = rate
        followed = [not s.by_epoch and not getattr(s, 'need_val_args', False) for s in schedulers]
        if runner.iter == 0 or not own or not saved or not all(followed):
            return
        none: dict[str, Any] = {}
        pairs = zip_longest((state for state, _ in own), saved, fillvalue=none)
        changes = [f'{i}.{change}' for i, pair in enumerate(pairs) for change in _changes(*pair)]
        if not changes:
            return
        before = schedulers[0].get_last_value()[0]
        for scheduler, (state, values) in zip(schedulers, own):
            scheduler.load_state_dict(state)
            for group, wanted in zip(scheduler.optimizer.param_groups, values):
                group.update(wanted)
        with warnings.catch_warnings():
            warnings.filterwarnings('ignore', message='Detected call of `scheduler.step')
            for _ in range(runner.iter):
                for scheduler in schedulers:
                    scheduler.step()
        runner.logger.warning(
            f'The param_scheduler of this config is not that of the checkpoint ({"; ".join(changes)}). The run goes on as this '
            f'config has it at iteration {runner.iter}: {schedulers[0].param_name} {schedulers[0].get_last_value()[0]:.3g} '
            f'instead of {before:.3g}.'
        )
