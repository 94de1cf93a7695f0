"""mmengine's runners, each run under a name and in a folder of its own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.runner import Runner

from mmmtl.errors import ConfigError, UserError, suggest

_taken: set[str] = set()
"""Names of the runs of this process: logs, histories and scopes are found by them, whatever the folder."""


def own_name(folder: str, time: str) -> str:
    """A name for a run that starts at ``time``, the same on all ranks; its folder below ``folder`` is made here.

    mmengine names runs by the second: two of one second would write into the same files.
    """
    found = ['']
    if is_main_process():
        number, name = 1, time
        while not _claims(folder, name):
            number += 1
            name = f'{time}_{number}'
        found = [name]
    broadcast_object_list(found)
    _taken.add(found[0])
    return found[0]


def _claims(folder: str, name: str) -> bool:
    if name in _taken:
        return False
    try:
        os.mkdir(os.path.join(folder, name))
    except FileExistsError:
        return False
    return True


@contextmanager
def mistakes_in(section: str) -> Iterator[None]:
    """Tell what a class of another library has against its arguments as a mistake in the section that they stand in.

    Raises:
        ConfigError: In the place of the errors by which constructors refuse.
    """
    try:
        yield
    except UserError:
        raise
    except (TypeError, ValueError, AssertionError, KeyError) as error:
        kind = '' if isinstance(error, (ValueError, AssertionError)) else f'{type(error).__name__}: '
        raise ConfigError(f'{section}: {kind}{error} (MMMTL_TRACEBACK=1 shows where)') from error


def check_watched(runner: Runner) -> None:
    """See that the validation gives what hooks watch (``save_best``, ``monitor``), before hours have gone into a training.

    Raises:
        ConfigError: It does not, and names what is near.
    """
    metrics = runner.val_loop.evaluator.metrics if runner.val_loop is not None else []
    if not metrics or not all(hasattr(metric, 'greater_is_better') for metric in metrics):
        return
    given = {name for metric in metrics for name in metric.greater_is_better}
    for hook in runner.hooks:
        watched = getattr(hook, 'save_best', None) or getattr(hook, 'monitor', None)
        for name in [watched] if isinstance(watched, str) else watched or ():
            if name not in given and name != 'auto':
                raise ConfigError(
                    f"{type(hook).__name__}: the validation gives no '{name}'.{suggest(name, given)} "
                    f'It gives {", ".join(sorted(given))}'
                )


class NamedRunner(Runner):
    """mmengine's ``Runner``; two runs of one second have names and log folders of their own (``TIME`` and ``TIME_2``).

    What its parts have against their arguments is told with the section of the config.
    """

    _timestamp: str

    def build_visualizer(self, visualizer: Any = None) -> Any:
        """As the base, one for each run: mmengine gives a run the one of an earlier run of that name, with its folder."""
        if isinstance(visualizer, dict):
            visualizer = {**visualizer, 'name': self._experiment_name}
        return super().build_visualizer(visualizer)

    def build_optim_wrapper(self, optim_wrapper: Any) -> Any:
        """As the base."""
        with mistakes_in('optim_wrapper'):
            return super().build_optim_wrapper(optim_wrapper)

    def build_param_scheduler(self, scheduler: Any) -> Any:
        """As the base."""
        with mistakes_in('param_scheduler'):
            return super().build_param_scheduler(scheduler)

    def build_train_loop(self, loop: Any) -> Any:
        """As the base."""
        with mistakes_in('train_cfg, train_dataloader'):
            return super().build_train_loop(loop)

    def scale_lr(self, optim_wrapper: Any, auto_scale_lr: dict | None = None) -> None:
        """As the base."""
        with mistakes_in('auto_scale_lr'):
            super().scale_lr(optim_wrapper, auto_scale_lr)

    def call_hook(self, fn_name: str, **kwargs: Any) -> None:
        """As the base; hooks look at their arguments when the run begins, and what they watch is looked for."""
        if fn_name == 'before_train':
            check_watched(self)
        with mistakes_in('default_hooks, custom_hooks') if fn_name == 'before_run' else nullcontext():
            super().call_hook(fn_name, **kwargs)

    def setup_env(self, env_cfg: dict[str, Any]) -> None:
        """As the base, and take a name."""
        super().setup_env(env_cfg)
        self._timestamp = own_name(self._work_dir, self._timestamp)
