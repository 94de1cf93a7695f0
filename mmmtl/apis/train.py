"""Training a config."""

from __future__ import annotations

import logging
import os.path as osp
from contextlib import nullcontext
from typing import Any

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmmtl.config.check import check_config
from mmmtl.engine import AtomicCheckpointHook
from mmmtl.engine.checkpoint_files import saved_checkpoints
from mmmtl.engine.hooks import catch_signals
from mmmtl.engine.loops import STREAM_KEY
from mmmtl.engine.param_groups import check_paramwise
from mmmtl.engine.total_batch import fit_batch
from mmmtl.engine.work_dir import after_restart, locked, note_launch, settle
from mmmtl.errors import CheckpointError, ConfigError
from mmmtl.ops.allocator import without_memory
from mmmtl.utils.models import unwrap_model
from mmmtl.utils.tensor_files import find_state
from mmmtl.utils.trees import dataset_configs

from .checkpoint import compare_state, read_checkpoint, tell_broken, told_order
from .model import build_model, forget_pretrained
from .runs import check_surroundings, drop_sections, is_first_process, make_runner, prepare

_HOOKS = dict(param_scheduler=dict(type='ScheduleHook'), checkpoint=dict(type='AtomicCheckpointHook', interval=2000))
"""Where a config says nothing, in the place of mmengine's, which resume the old schedule and save objects."""


def train(
    cfg: Config,
    work_dir: str | None = None,
    resume: bool | str = False,
    amp: bool = False,
    seed: int | None = None,
    launcher: str = 'none',
    overwrite: bool = False,
) -> Runner:
    """Train the model of a config.

    Args:
        cfg: What :func:`load_config` returned.
        work_dir: Where logs and checkpoints go; default ``work_dirs/`` + the config's name.
        resume: True goes on from the newest checkpoint of the work dir (from the start, or from the config's
            ``load_from``, if there is none), a path from that file.
        amp: Mixed precision: bfloat16, or float16 with loss scaling on a GPU without bfloat16.
        seed: Seed of everything random in the run; the choice of labels in partially labelled training
            keeps its own.
        launcher: ``none``, ``pytorch``, ``slurm`` or ``mpi``.
        overwrite: Delete the checkpoints of an earlier run in the work dir, unless torchrun starts a failed one again.

    Returns:
        The runner, after training.

    Raises:
        ConfigError: Mistakes in the config, all at once, before anything is built.
        CheckpointError: A checkpoint to resume or start from that is not of this network.
        BusyError: Another run is at work in the work dir.
        Interrupted: The run was asked to stop (SIGTERM, SIGINT, SIGUSR1), and has saved a checkpoint.
    """
    if overwrite and (resume or cfg.get('resume')):
        raise ConfigError('--resume goes on from what --overwrite deletes: give one of the two')
    cfg = prepare(cfg, work_dir, launcher)
    if seed is not None:
        set_seed(cfg, seed)
        check_surroundings(cfg)
    if amp:
        use_amp(cfg)
    resume, overwrite = after_restart(cfg.work_dir, saved_checkpoints(cfg), resume, overwrite)
    start = cfg.get('load_from') if resume is True and not cfg.get('resume') else None  # weights for a run without past
    if resume:
        cfg.resume = True
        cfg.load_from = osp.expanduser(resume) if isinstance(resume, str) else None
    check_config(cfg, parts=('model', 'train', 'val') if cfg.get('val_cfg') else ('model', 'train'))
    for section in ('train_dataloader', 'train_cfg', 'optim_wrapper'):
        if not cfg.get(section):
            raise ConfigError(f"{cfg.filename or 'the config'} has no '{section}', which training needs")
    drop_sections(cfg, ('test_dataloader', 'test_cfg', 'test_evaluator'))  # which may not be there
    add_hooks(cfg)
    with locked(cfg.work_dir) if is_first_process(launcher) else nullcontext(), catch_signals():
        return _train(cfg, overwrite, start)


def _train(cfg: Config, overwrite: bool, start: str | None = None) -> Runner:
    """Train in a work dir that is this run's own.

    Args:
        cfg: The prepared config.
        overwrite: As of :func:`train`.
        start: The config's own ``load_from``, taken where there is nothing to resume.
    """
    found, told = saved_checkpoints(cfg), None
    if is_first_process(cfg.launcher):
        told = settle(cfg.work_dir, cfg.to_dict(), bool(cfg.get('resume')), overwrite, found)
    runner = make_runner(cfg)
    if told:
        runner.logger.info(told)
    note_launch(cfg.work_dir)
    if cfg.get('resume'):
        for hook in runner.hooks:
            if isinstance(hook, AtomicCheckpointHook):
                cfg.load_from = hook.choose_checkpoint(runner)
                cfg.resume = cfg.load_from is not None
        if not cfg.resume and start:
            cfg.load_from = runner._load_from = start
    model = runner.model
    if not isinstance(model, nn.Module):  # a runner that shards the network builds it later
        with without_memory():
            model = build_model(cfg, initialize=False)
    check_paramwise(cfg.optim_wrapper, unwrap_model(model))
    place, whole = check_start(model, cfg)
    if whole:
        forget_pretrained(unwrap_model(runner.model) if isinstance(runner.model, nn.Module) else runner.model)
    fit_batch(cfg, runner, place)
    runner.train()
    return runner


def set_seed(cfg: Config, seed: int) -> None:
    """Seed the run: generators, order of the samples, augmentation."""
    cfg.randomness = dict(cfg.get('randomness') or {}, seed=int(seed))
    for _, dataset in dataset_configs(cfg.get('train_dataloader'), 'train_dataloader'):
        if 'tasks' in dataset:
            dataset['seed'] = int(seed)


def use_amp(cfg: Config) -> None:
    """Change the optimiser wrapper to one with mixed precision.

    Raises:
        ConfigError: A wrapper of another kind stands in the config.
    """
    kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
    if kind == 'AutocastOptimWrapper':
        cfg.optim_wrapper.dtype = 'bfloat16'
    if kind in ('AutocastOptimWrapper', 'AmpOptimWrapper'):
        return
    if kind != 'OptimWrapper':
        raise ConfigError(
            f"--amp: optim_wrapper.type='{kind}' can't be changed to mixed precision, only 'OptimWrapper' can"
        )
    if torch.cuda.is_available() and not torch.cuda.is_bf16_supported():
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('dtype', 'float16')
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')
    else:
        cfg.optim_wrapper.type = 'AutocastOptimWrapper'
        cfg.optim_wrapper.setdefault('dtype', 'bfloat16')


def add_hooks(cfg: Config) -> None:
    """Hooks of every training: checkpoints, schedules; a signal ends it with a checkpoint, what slows it down is told."""
    for name, hook in _HOOKS.items():
        cfg.default_hooks.setdefault(name, hook)
    hooks = list(cfg.get('custom_hooks') or [])
    kinds = {str(hook.get('type')).rpartition('.')[2] for hook in hooks}
    cfg.custom_hooks = [*hooks, *(dict(type=kind) for kind in ('InterruptHook', 'WatchHook') if kind not in kinds)]


def check_start(model: nn.Module, cfg: Config) -> tuple[dict[str, Any], bool]:
    """Look at the checkpoint a run starts from before mmengine loads it, which only warns of what does not fit.

    Returns:
        What it says of its run's place in the data, if this run goes on from there, and whether it holds the whole backbone.

    Raises:
        CheckpointError: A resumed run needs every parameter; one that starts from other weights at least
            some.
    """
    path: Any = cfg.get('load_from')
    if not path:
        return {}, False
    network = unwrap_model(model)
    network.cfg = cfg
    content = read_checkpoint(str(path)) if '://' not in str(path) else fetch_checkpoint(str(path))
    fit = compare_state(network, content, training=True)
    if not fit.exact and (cfg.get('resume') or not fit.matched):
        raise CheckpointError(fit.report(str(path)))
    if not fit.exact:
        print_log(f'Starting from {path}: {fit.summary()}', logger='current')
    elif apart := told_order(fit, str(path)):
        if cfg.get('resume'):
            raise CheckpointError(apart)
        print_log(apart, 'current', logging.WARNING)  # what is alike may still be a good start
    tell_broken(fit, str(path))
    info = (content.get('message_hub') or {}).get('runtime_info') or {}
    whole = not any(key.startswith('backbone.') for key in (*fit.missing, *fit.mismatched))
    return dict(info.get(STREAM_KEY) or {}) if cfg.get('resume') else {}, whole


def fetch_checkpoint(address: str) -> dict[str, Any]:
    """Read a checkpoint from an address, as mmengine will once more.

    Raises:
        CheckpointError: It cannot be fetched, or holds no state dict.
    """
    try:
        content = CheckpointLoader.load_checkpoint(address, map_location='cpu', logger='current')
    except OSError as error:  # a server that is not there, an address that gives no file
        raise CheckpointError(f"checkpoint '{address}' could not be fetched: {error}") from error
    return {**content, 'state_dict': find_state({'state_dict': content.get('state_dict', content)}, address)}
