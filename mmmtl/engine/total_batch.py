"""The total batch of a launch, made that of the config by gathering gradients where it can be."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from mmengine.config import Config
from mmengine.logging import print_log

from mmmtl.engine.loops import ResumableTrainLoop
from mmmtl.registry import LOOPS


def fit_batch(cfg: Config, runner: Any, place: Mapping[str, Any] | None = None) -> None:
    """Add up the gradients of as many batches as make the total batch that the config is made for; log what is done.

    Left alone is a config that says how many batches make an update (``train_cfg.accumulation``,
    ``optim_wrapper.accumulative_counts``), or whose learning rate follows the batch (``auto_scale_lr.enable``). A run
    that is resumed on another number of processes keeps the total batch that it had, where they divide it.

    Args:
        cfg: The config.
        runner: Its runner, which has not trained yet.
        place: What the checkpoint of a run that is resumed says of its place in the data: samples of an update and number
            of processes among it.
    """
    place, loader, wrapper, loop = place or {}, cfg.train_dataloader, cfg.optim_wrapper, cfg.train_cfg
    scaling = cfg.get('auto_scale_lr') or {}
    each = (loader.get('batch_sampler') or {}).get('batch_size') or loader.get('batch_size', 1)
    counted = wrapper.get('accumulative_counts') if isinstance(wrapper, dict) else None
    accumulation = loop.get('accumulation') or 1
    total, wanted = runner.world_size * each * (counted or 1) * accumulation, scaling.get('base_batch_size')
    kept = place.get('samples', 0) if place.get('processes') not in (None, runner.world_size) else 0
    if kept and kept % total == 0 and loop.get('accumulation') is None and _accumulates(loop):
        _gather(runner, loader, kept // total)
        _scale_by_update(runner, scaling, kept // total * (counted or 1))
        sizes = f'{runner.world_size} process(es) x {each} images x {kept // total * (counted or 1)} step(s) of accumulation'
        print_log(f'Total batch: {kept}, as on {place["processes"]} process(es) before ({sizes})', logger='current')
        return
    open_to_change = counted is None and loop.get('accumulation') is None and _accumulates(loop)
    if open_to_change and not scaling.get('enable') and wanted and wanted > total and wanted % total == 0:
        accumulation, total = wanted // total, wanted
        _gather(runner, loader, accumulation)
    steps = accumulation * (counted or 1)
    _scale_by_update(runner, scaling, steps)
    sizes = f'{runner.world_size} process(es) x {each} images x {steps} step(s) of accumulation'
    more = ''
    if accumulation > 1:
        more = f': an iteration is {accumulation} batches of every process, and one step of the optimiser and the schedules'
    print_log(f'Total batch: {total} ({sizes}){more}', logger='current')
    if wanted and total != wanted and not scaling.get('enable'):
        print_log(
            f'This config is made for a total batch of {wanted}, and this launch gives {total}. Change batch_size or the '
            f'number of processes so that they divide {wanted}; or let the learning rate follow: '
            f'auto_scale_lr.enable=True.',
            logger='current',
            level=logging.WARNING,
        )


def _gather(runner: Any, loader: Any, accumulation: int) -> None:
    """Let every process of a run take so many batches an iteration."""
    runner._train_loop = dict(runner._train_loop, accumulation=accumulation)
    planned = (loader.get('batch_sampler') or {}).get('accumulation')
    if planned:  # the batch sampler plans whole updates
        runner._train_dataloader['batch_sampler']['accumulation'] = planned * accumulation


def _scale_by_update(runner: Any, scaling: Mapping[str, Any], steps: int) -> None:
    """Let the learning rate follow what an update sees; mmengine compares one batch of every process with the base."""
    if scaling.get('enable') and scaling.get('base_batch_size') and steps > 1:
        scaling = dict(scaling, base_batch_size=scaling['base_batch_size'] / steps)
        if hasattr(runner, 'strategy'):  # of a FlexibleRunner
            runner.strategy._auto_scale_lr = scaling
        else:
            runner.auto_scale_lr = scaling


def _accumulates(loop: Any) -> bool:
    """Whether a training loop's config is of a class that takes ``accumulation``."""
    kind = loop.get('type')
    found = LOOPS.get(kind) if isinstance(kind, str) else kind
    return isinstance(found, type) and issubclass(found, ResumableTrainLoop)
