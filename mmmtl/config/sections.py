"""What a config is made of: its components, and the keys that sections without a type take."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmmtl.registry import BY_KEY, SECTIONS, Component
from mmmtl.utils.trees import items, join

LATE = set(SECTIONS) - {'tasks'}
"""Sections are changed after the files have run: ``test_dataloader = val_dataloader`` are two things from then on."""

_DEFAULT_TYPES = dict(
    val_cfg='ValLoop',
    test_cfg='TestLoop',
    optim_wrapper='OptimWrapper',
    visualizer='Visualizer',
    log_processor='LogProcessor',
)
_LOADER = 'dataset sampler batch_sampler collate_fn worker_init_fn num_batch_per_epoch'.split()
PLAIN = {  # sections without a type, and the keys they take
    **{
        f'{part}_dataloader': {*_LOADER, *inspect.signature(DataLoader).parameters} for part in ('train', 'val', 'test')
    },
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
}
MEANT = {*SECTIONS, *inspect.signature(Runner).parameters} - {'cfg'} | set(
    'only_tasks custom_imports find_unused_parameters sync_bn runner_type strategy compile tta_model tta_pipeline study '
    'single_task_reference'.split()
)
"""Top-level names that mmengine or this package reads."""


def components(config: Mapping) -> Iterator[Component]:
    """All components of a config, section by section."""
    for section in [s for s in SECTIONS if config.get(s) is not None]:
        value, kind = config[section], _DEFAULT_TYPES.get(section)
        if section == 'train_cfg' and isinstance(value, Mapping):
            kind = 'EpochBasedTrainLoop' if value.get('by_epoch', True) else 'IterBasedTrainLoop'
        yield from _walk(value, section, SECTIONS[section], kind, section in ('tasks', 'default_hooks'))


def _walk(value: Any, path: str, registry: Any, kind: Any = None, is_mapping: bool = False) -> Iterator[Component]:
    """Components inside ``value``; in a mapping every entry must be one."""
    here = None
    if isinstance(value, Mapping) and not is_mapping and (kind is not None or 'type' in value):
        here = Component(path, value, registry, value.get('type', kind))
        yield here
    for key, item in items(value):
        below = registry
        if isinstance(value, Mapping) and isinstance(item, (Mapping, list, tuple)) and not is_mapping:
            below = here.registry_of(key) if here else BY_KEY.get(key, registry)
        if is_mapping and isinstance(item, Mapping) and 'type' not in item:
            yield Component(join(path, key), item, below, None)
        if below is not None:
            yield from _walk(item, join(path, key), below, is_mapping=key == 'tasks' and not is_mapping)


def anywhere(path: str, config: Mapping) -> Component:
    """The component of a mapping outside the sections (``train_pipeline.0``): of the first registry with its type."""
    found = [Component(path, config, r, config['type']) for r in dict.fromkeys([*SECTIONS.values(), *BY_KEY.values()])]
    return next((c for c in found if c.resolve() is not None), found[0])
