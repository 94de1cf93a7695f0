"""What the sections of a config are made of: which registry names their types, which keys they take besides.

Read by the check of a whole config and by the check of ``--cfg-options``.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmengine import registry as root
from mmengine.runner import Runner

from mmmtl import registry as own

from .signatures import accepted_arguments

SECTIONS = {
    'model': own.MODELS,
    'tasks': own.TASKS,
    'train_dataloader': own.DATASETS,
    'val_dataloader': own.DATASETS,
    'test_dataloader': own.DATASETS,
    'train_cfg': own.LOOPS,
    'val_cfg': own.LOOPS,
    'test_cfg': own.LOOPS,
    'optim_wrapper': own.OPTIM_WRAPPERS,
    'param_scheduler': own.PARAM_SCHEDULERS,
    'val_evaluator': own.METRICS,
    'test_evaluator': own.METRICS,
    'default_hooks': own.HOOKS,
    'custom_hooks': own.HOOKS,
    'visualizer': own.VISUALIZERS,
    'log_processor': root.LOG_PROCESSORS,
    'model_wrapper_cfg': root.MODEL_WRAPPERS,
}
"""Top-level section → registry of the types in it."""

_BY_KEY = {
    'tasks': own.TASKS,
    'metric': own.METRICS,
    'metrics': own.METRICS,
    'dataset': own.DATASETS,
    'datasets': own.DATASETS,
    'pipeline': own.TRANSFORMS,
    'transforms': own.TRANSFORMS,
    'label_sampler': own.LABEL_SAMPLERS,
    'sampler': own.DATA_SAMPLERS,
    'batch_sampler': own.DATA_SAMPLERS,
    'collate_fn': root.FUNCTIONS,
    'worker_init_fn': root.FUNCTIONS,
    'optimizer': own.OPTIMIZERS,
    'balancer': own.BALANCERS,
    'vis_backends': own.VISBACKENDS,
    'loss': own.MODELS,
    'init_cfg': root.WEIGHT_INITIALIZERS,
}
"""Below a section, these keys switch to another registry; everything else stays with its parent's."""

_OPAQUE = (
    'clip_grad',
    'metainfo',
    'paramwise_cfg',
    'conv_cfg',
    'norm_cfg',
    'act_cfg',
    'upsample_cfg',
    'padding_cfg',
    'timm_options',
)
"""Keys whose dicts are not components of ours, though they may hold the word ``type``."""

_DEFAULT_TYPES = {
    'val_cfg': 'ValLoop',
    'test_cfg': 'TestLoop',
    'optim_wrapper': 'OptimWrapper',
    'visualizer': 'Visualizer',
    'log_processor': 'LogProcessor',
}

_EXTRA_KEYS = {  # taken out of the config by mmengine before the class is built
    own.LOOPS: {'by_epoch'},
    own.HOOKS: {'priority'},
    own.OPTIM_WRAPPERS: {'constructor', 'paramwise_cfg', 'optimizer'},
    own.PARAM_SCHEDULERS: {'convert_to_iter_based'},
    own.VISBACKENDS: {'name'},
}

_PLAIN_SECTIONS = {  # sections without a type, and the keys they take
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
}

_LOADER_EXTRA = {'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'num_batch_per_epoch'}


def section_keys() -> set[str]:
    """Top-level keys with a meaning: mmengine's runner's and this package's."""
    keys = set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}
    return keys | {
        'tasks',
        'only_tasks',
        'custom_imports',
        'model_wrapper_cfg',
        'find_unused_parameters',
        'sync_bn',
        'runner_type',
        'strategy',
        'compile',
        'data_root',
        'label_sampler',
        'vis_backends',
        'tta_model',
        'tta_pipeline',
    }


@dataclass
class Component:
    """A dict of the config that becomes an object.

    Attributes:
        path: Where it stands, for example ``model.decoder``.
        config: The dict.
        registry: Where its type is looked up.
        kind: The type's name or class; None where a type is missing.
    """

    path: str
    config: Mapping
    registry: root.Registry
    kind: Any


def join(path: str, key: str | int) -> str:
    """``a.b`` + ``c`` = ``a.b.c``; list places are numbers as ``--cfg-options`` writes them."""
    return f'{path}.{key}' if path else str(key)


def components(config: Mapping) -> Iterator[Component]:
    """All components of a config, section by section."""
    for section, registry in SECTIONS.items():
        value = config.get(section)
        if value is None:
            continue
        if isinstance(value, Mapping) and 'type' not in value:
            kind = _default_type(section, value)
            if kind is not None:
                yield Component(section, value, registry, kind)
        yield from _walk(value, section, registry, is_mapping=section in ('tasks', 'default_hooks'))


def _default_type(section: str, value: Mapping) -> str | None:
    """The type a section has when it names none."""
    if section == 'train_cfg':
        return 'EpochBasedTrainLoop' if value.get('by_epoch', True) else 'IterBasedTrainLoop'
    return _DEFAULT_TYPES.get(section)


def _walk(value: Any, path: str, registry: root.Registry, is_mapping: bool = False) -> Iterator[Component]:
    """Components inside ``value``; in a mapping every entry must be one."""
    if isinstance(value, Mapping):
        if 'type' in value and not is_mapping:
            yield Component(path, value, registry, value['type'])
        for key, item in value.items():
            if key in _OPAQUE:
                continue
            below = registry if is_mapping else _BY_KEY.get(key, registry)
            if is_mapping and isinstance(item, Mapping) and 'type' not in item:
                yield Component(join(path, key), item, below, None)
            yield from _walk(item, join(path, key), below, is_mapping=key == 'tasks' and not is_mapping)
    elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        for index, item in enumerate(value):
            yield from _walk(item, join(path, index), registry)


def resolve(kind: Any, registry: root.Registry) -> Any:
    """The class or function behind a ``type``, or None."""
    if not isinstance(kind, str):
        return kind
    if kind.startswith('mmseg.'):
        from mmmtl.compat import enable_mmseg

        enable_mmseg()
    found = registry.get(kind)
    if found is None and registry is own.METRICS:
        found = own.EVALUATOR.get(kind)
    if found is None and registry is own.MODELS:
        found = root.MODEL_WRAPPERS.get(kind)
    return found


def allowed_keys(component: Component) -> tuple[set[str], bool]:
    """Arguments a component takes, and whether it may take others; an unknown type takes anything."""
    factory = resolve(component.kind, component.registry) if component.kind is not None else None
    if factory is None:
        return set(), True
    names, is_open = accepted_arguments(factory)
    return names | {'type', '_scope_'} | _EXTRA_KEYS.get(component.registry, set()), is_open


def anywhere(path: str, config: Mapping) -> Component:
    """The component of a dict outside the sections (``train_pipeline.0``): the first registry with its type."""
    registries = dict.fromkeys([*SECTIONS.values(), *_BY_KEY.values()])
    for registry in registries:
        if isinstance(config['type'], str) and resolve(config['type'], registry) is not None:
            return Component(path, config, registry, config['type'])
    return Component(path, config, own.MODELS, None if isinstance(config['type'], str) else config['type'])


def plain_keys(path: str) -> set[str] | None:
    """Keys of a section that has no type; None for sections nothing is known about."""
    if path.endswith('_dataloader') and '.' not in path:
        from torch.utils.data import DataLoader

        return (set(inspect.signature(DataLoader.__init__).parameters) - {'self'}) | _LOADER_EXTRA
    return _PLAIN_SECTIONS.get(path)
