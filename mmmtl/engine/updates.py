"""An update from several batches: what the optimiser waits for, what hooks see of it, and that a resumed run keeps it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError


def wrappers_of(optim_wrapper: Any) -> list[Any]:
    """The optimiser wrapper, or those of an ``OptimWrapperDict``."""
    return list(dict(optim_wrapper.items()).values()) if hasattr(optim_wrapper, 'items') else [optim_wrapper]


def batches_per_update(optim_wrapper: Any) -> int:
    """Batches of one process whose gradients the optimiser adds up before it steps."""
    return max(getattr(wrapper, '_accumulative_counts', 1) for wrapper in wrappers_of(optim_wrapper))


def gather_batches(optim_wrapper: Any, model: nn.Module, batches: int, iteration: int, iterations: int) -> None:
    """Let the optimiser wait for ``batches`` times as many batches, at iteration ``iteration`` of ``iterations``.

    Modules that count iterations in their forward pass have an attribute ``batches_per_step``, which is set.
    """
    for module in (m for m in model.modules() if hasattr(m, 'batches_per_step')):
        module.batches_per_step = batches
    for wrapper in wrappers_of(optim_wrapper):
        wrapper._accumulative_counts *= batches
        wrapper.initialize_count_status(model, iteration * batches, iterations * batches)


def join_batches(batches: Sequence[Any]) -> Any:
    """The samples of several batches as those of one; batches of another form than a mapping of sequences as a list."""
    if len(batches) == 1:
        return batches[0]
    if not all(isinstance(batch, Mapping) for batch in batches):
        return list(batches)
    joined = {}
    for key in batches[0]:
        parts = [batch[key] for batch in batches]
        joined[key] = torch.cat(parts) if isinstance(parts[0], Tensor) else list(chain(*parts))
    return joined


def mean_outputs(outputs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The mean of every loss over the batches of an update that have it."""
    if len(outputs) == 1:
        return outputs[0]
    found: dict[str, list[Tensor]] = {}
    for name, value in chain(*(output.items() for output in outputs)):
        found.setdefault(name, []).append(torch.as_tensor(value).detach().float())
    return {name: torch.stack(values).mean() for name, values in found.items()}


def compare_updates(saved: Mapping[str, Any], own: Mapping[str, int], logger: Any) -> None:
    """See that a resumed run means by an iteration what the checkpoint's run meant by it.

    Args:
        saved: What :class:`~mmmtl.engine.loops.ResumableTrainLoop` keeps in checkpoints.
        own: ``batches`` per iteration, ``iterations`` per update, and ``samples`` per update over all processes.
        logger: Told of a change that keeps the samples of an update, and warned of another number of them.

    Raises:
        ConfigError: Another accumulation, by which an iteration would be other samples or another share of an update.
    """
    if any(key not in saved for key in own):
        return
    before, now = (
        f'{place["samples"]} samples ({place["batches"] * place["iterations"]} batch(es) of every process)'
        for place in (saved, own)
    )
    same = saved['samples'] == own['samples']
    if saved['iterations'] != own['iterations'] or (saved['batches'] != own['batches'] and not same):
        each = own['samples'] // (own['batches'] * own['iterations'])
        needed, rest = divmod(saved['samples'], each * saved['iterations'])
        remedy = (
            f'train_cfg.accumulation={needed} optim_wrapper.accumulative_counts={saved["iterations"]} keep it'
            if not rest
            else 'another batch_size or number of processes keeps it'
        )
        raise ConfigError(
            f'the checkpoint was trained with updates of {before}, and this launch would resume it with {now}: its '
            f'iterations would not be the same. {remedy}; or start anew from its weights with load_from.'
        )
    if not same:
        logger.warning(f'The checkpoint was trained with updates of {before}; from here on they are of {now}.')
    elif saved['batches'] != own['batches']:
        logger.info(f'Updates stay at {own["samples"]} samples, now from {own["batches"]} batch(es) of every process.')


def warn_of_statistics(saved: Mapping[str, Any], runner: Any) -> None:
    """Warn where another number of processes changes what running statistics are of: those of a process's own batches."""
    before = saved.get('processes', runner.world_size)
    norms = [m for m in runner.model.modules() if getattr(m, 'running_mean', None) is not None]
    if before == runner.world_size or not norms:
        return
    runner.logger.warning(
        f'The checkpoint is of {before} process(es), this run has {runner.world_size}: the running statistics of BatchNorm '
        f'({len(norms)} layers), which are those of the batches that the first process sees, are of other batches from here '
        f'on. Gradients do not depend on them, predictions do, until they have followed.'
    )
