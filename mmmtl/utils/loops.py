"""What a training loop cannot serve: schedules, hooks and samplers that count otherwise than it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop

_ENDLESS = ('ResumableSampler', 'InfiniteSampler', 'TaskCycleBatchSampler')


def loop_problems(cfg: Mapping[str, Any], loop: Any, kinds: Mapping[str, Any]) -> Iterator[str]:
    """What in a config cannot work together with its training loop, a line for each.

    Args:
        cfg: The config.
        loop: The loop's class; None where there is none.
        kinds: ``{path: type}`` of the components of the training.
    """
    by_epoch = isinstance(loop, type) and issubclass(loop, EpochBasedTrainLoop)
    by_iteration = isinstance(loop, type) and issubclass(loop, IterBasedTrainLoop)
    for path, scheduler in _schedulers(cfg.get('param_scheduler'), 'param_scheduler'):
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        if end is not None and begin >= end:
            yield (
                f'{path}: {scheduler.get("type")} begins at {begin} and ends at {end}; a run '
                f'this short needs another schedule, for example --cfg-options param_scheduler=None.'
            )
        kept = scheduler.get('convert_to_iter_based') or 'Plateau' in str(
            scheduler.get('type')
        )  # after each validation
        if by_iteration and scheduler.get('by_epoch', True) and not kept:
            yield f'{path}: {scheduler.get("type")} counts epochs, as long as it is not told by_epoch=False. {_ONE_EPOCH}'
    for name, hook in (cfg.get('default_hooks') or {}).items():
        kind = str((hook or {}).get('type')).rpartition('.')[2]
        if by_iteration and name == 'checkpoint' and hook and hook.get('by_epoch', kind == 'CheckpointHook'):
            yield f'default_hooks.{name}: {kind} counts epochs, as long as it is not told by_epoch=False. {_ONE_EPOCH}'
    for path in ('train_dataloader.sampler', 'train_dataloader.batch_sampler'):
        if by_epoch and str(kinds.get(path)).rpartition('.')[2] in _ENDLESS:
            yield (
                f"train_cfg.type='{loop.__name__}' waits for the end of an epoch, and {path}.type='{kinds[path]}' "
                f"gives samples without end. Use train_cfg.type='ResumableTrainLoop' with train_cfg.max_epochs, or "
                f"train_dataloader.sampler.type='DefaultSampler'."
            )


_ONE_EPOCH = (
    'The loop of this config counts iterations: its one epoch ends with the run, and nothing would happen before.'
)


def _schedulers(found: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Schedules of one optimiser or of several, each with its place."""
    if isinstance(found, Mapping) and 'type' in found:
        yield path, found
    elif isinstance(found, Mapping):
        for name, inner in found.items():
            yield from _schedulers(inner, f'{path}.{name}')
    elif isinstance(found, (list, tuple)):
        for index, inner in enumerate(found):
            yield from _schedulers(inner, f'{path}.{index}')
