"""What training and testing have in common: work dir, process group, the runner."""

from __future__ import annotations

import copy
import os
import os.path as osp
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.runner import Runner

from mmmtl.engine.limits import impossible_numbers
from mmmtl.engine.runners import NamedRunner
from mmmtl.errors import ConfigError, suggest
from mmmtl.evaluation.metrics.references import known_greater_is_better
from mmmtl.ops.allocator import keep_freed_memory
from mmmtl.registry import register_all_modules
from mmmtl.utils.config_files import OrderedConfig

TRAIN_SECTIONS = ('train_dataloader', 'train_cfg', 'optim_wrapper', 'param_scheduler', 'auto_scale_lr')
VAL_SECTIONS = ('val_dataloader', 'val_cfg', 'val_evaluator')
_RUNNERS_HOOKS = 'runtime_info timer sampler_seed logger param_scheduler checkpoint'.split()
"""Hooks that mmengine's runner has where a config says nothing, and leaves out where it says None."""
_LAUNCHERS = {
    'pytorch': ('RANK', 'not started by torchrun: start it with bash tools/dist_train.sh or dist_test.sh'),
    'slurm': ('SLURM_PROCID', 'not started by srun: start it with bash tools/slurm_train.sh or slurm_test.sh'),
    'mpi': ('OMPI_COMM_WORLD_RANK', 'not started by mpirun: start it with mpirun -n N'),
}
"""Per launcher the variable that has a process's number, and what to do where it did not."""


def is_first_process(launcher: str) -> bool:
    """Whether this is the only or the first process of a run, also before the processes have met."""
    return os.environ.get(_LAUNCHERS.get(launcher, ('',))[0], '0') == '0'


def default_work_dir(cfg: Config) -> str:
    """``work_dirs/`` + the config's name, below its folder: ``work_dirs/taskdiffusion/vitl_pascal``."""
    path = Path(cfg.filename or 'config')
    parts = path.resolve().parts
    inside = parts[parts.index('configs') + 1 : -1] if 'configs' in parts else ()
    return osp.join('work_dirs', *inside, path.stem)


def prepare(cfg: Config, work_dir: str | None, launcher: str) -> Config:
    """A copy of the config with work dir, launcher and scope settled."""
    cfg = copy.deepcopy(cfg)
    object.__setattr__(cfg, '__class__', OrderedConfig)  # the work dir's copy of it builds the same network
    cfg.launcher = launcher
    cfg.work_dir = osp.expanduser(work_dir or cfg.get('work_dir') or default_work_dir(cfg))
    cfg.load_from = osp.expanduser(cfg.load_from) if cfg.get('load_from') else None
    cfg.setdefault('default_scope', 'mmmtl')
    hooks = cfg.get('default_hooks') or {}  # a hook that is set to None is switched off
    cfg.default_hooks = {name: hook for name, hook in hooks.items() if hook is not None or name in _RUNNERS_HOOKS}
    cfg.custom_hooks = [hook for hook in cfg.get('custom_hooks') or [] if hook is not None]
    for loader in (cfg.get(f'{part}_dataloader') for part in ('train', 'val', 'test')):
        if loader and not loader.get('num_workers'):  # torch refuses them without workers
            loader.pop('persistent_workers', None)
            loader.pop('prefetch_factor', None)
    fill_in_rules(cfg)
    cfg.setdefault('env_cfg', dict(dist_cfg=dict(backend='nccl')))
    check_surroundings(cfg)
    return cfg


def check_surroundings(cfg: Config) -> None:
    """See that the run can start here: the launcher's variables, the work dir, numbers that others check late.

    Raises:
        ConfigError: One of them is wrong; mmengine and torch would tell it by a traceback from their inside.
    """
    variable, remedy = _LAUNCHERS.get(cfg.launcher, ('', ''))
    if variable and variable not in os.environ:
        raise ConfigError(
            f"launcher='{cfg.launcher}': this process was {remedy}, or leave --launcher out (the environment variable "
            f'{variable} is missing)'
        )
    for place in [Path(cfg.work_dir), *Path(cfg.work_dir).parents]:
        if place.exists() and not place.is_dir():
            raise ConfigError(f"--work-dir '{cfg.work_dir}': {place} is a file, no folder")
    wrong = impossible_numbers(cfg._cfg_dict)
    if wrong:
        raise ConfigError('; '.join(wrong))


def fill_in_rules(cfg: Config) -> None:
    """Say whether higher is better of the values that hooks watch (``save_best``, ``monitor``): their metric knows it.

    Raises:
        ConfigError: A value that no metric gives and whose direction nobody knows.
    """
    hooks = [*(cfg.get('default_hooks') or {}).values(), *(cfg.get('custom_hooks') or ())]
    for hook in (h for h in hooks if isinstance(h, dict) and h.get('rule') is None):
        watched = hook.get('save_best') or hook.get('monitor')
        names = [watched] if isinstance(watched, str) else list(watched or ())
        if not names or names == ['auto']:
            continue
        known = {**known_greater_is_better(), 'delta_m': True, 'loss': False}
        unknown = [name for name in names if name.rpartition('/')[2] not in known]
        if unknown:
            near = suggest(unknown[0].rpartition('/')[2], known)
            raise ConfigError(
                f"{hook.get('type')}: no metric gives '{unknown[0]}'.{near} For a value of your own, say rule."
            )
        rules = ['greater' if known[name.rpartition('/')[2]] else 'less' for name in names]
        hook['rule'] = rules if isinstance(watched, (list, tuple)) else rules[0]


def make_runner(cfg: Config) -> Runner:
    """Build mmengine's runner, also for distributed runs without an accelerator.

    ``runner_type='FlexibleRunner'`` with a ``strategy`` is for sharded training.
    """
    from mmmtl.compat import init_cpu_dist

    keep_freed_memory()
    register_all_modules()
    flexible = cfg.get('runner_type', 'Runner') == 'FlexibleRunner'
    if flexible:
        from mmmtl.engine.fully_shard import check_parts

        check_parts(cfg.get('strategy') or {}, cfg.get('optim_wrapper') or {}, cfg.get('custom_hooks') or [])
    init_cpu_dist(cfg, cfg.launcher)
    if flexible:
        from mmengine.runner._flexible_runner import FlexibleRunner

        return FlexibleRunner.from_cfg(cfg)
    return NamedRunner.from_cfg(cfg)


def rename(cfg: Config, suffix: str) -> Config:
    """Let the runner keep its copy of the config under another name: the work dir's copy is that of the training."""
    if cfg.filename:
        path = Path(cfg.filename)
        super(Config, cfg).__setattr__('_filename', str(path.with_name(path.stem + suffix + path.suffix)))
    return cfg


def drop_sections(cfg: Config, sections: Any) -> None:
    """Switch off sections that a run does not use, so that their data need not exist."""
    for section in sections:
        if section in cfg:
            cfg[section] = None
