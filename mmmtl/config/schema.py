"""What the sections of a config are made of: which registry names their types, which keys they take besides."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mmengine import registry as root
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmmtl import registry as own
from mmmtl.registry import accepted_arguments, built_arguments, owner_of_argument

SECTIONS = {
    'model': own.MODELS,
    'tasks': own.TASKS,
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), own.DATASETS),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), own.LOOPS),
    'optim_wrapper': own.OPTIM_WRAPPERS,
    'param_scheduler': own.PARAM_SCHEDULERS,
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), own.METRICS),
    **dict.fromkeys(('default_hooks', 'custom_hooks'), own.HOOKS),
    'visualizer': own.VISUALIZERS,
    'infer_pipeline': own.TRANSFORMS,
    'log_processor': root.LOG_PROCESSORS,
    'model_wrapper_cfg': root.MODEL_WRAPPERS,
}
"""Top-level section → registry of the types in it."""

LATE = set(SECTIONS) - {'tasks'}
"""Sections are changed after the files have run: ``test_dataloader = val_dataloader`` are two things from then on."""

_BY_KEY = {
    'tasks': own.TASKS,
    **dict.fromkeys(('metric', 'metrics'), own.METRICS),
    **dict.fromkeys(('dataset', 'datasets'), own.DATASETS),
    **dict.fromkeys(('pipeline', 'transforms'), own.TRANSFORMS),
    'label_sampler': own.LABEL_SAMPLERS,
    **dict.fromkeys(('sampler', 'batch_sampler'), own.DATA_SAMPLERS),
    **dict.fromkeys(('collate_fn', 'worker_init_fn'), root.FUNCTIONS),
    'optimizer': own.OPTIMIZERS,
    'balancer': own.BALANCERS,
    'vis_backends': own.VISBACKENDS,
    'loss': own.MODELS,
    'init_cfg': root.WEIGHT_INITIALIZERS,
}
"""Below a section, these keys of this package's and of mmengine's classes switch to another registry."""

_OPAQUE = ('clip_grad', 'metainfo', 'paramwise_cfg', 'timm_options')
"""Arguments whose dicts are not components, though they may hold the word ``type``."""

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

_LOADER_EXTRA = {'dataset', 'sampler', 'batch_sampler', 'collate_fn', 'worker_init_fn', 'num_batch_per_epoch'}
_LOADER = (set(inspect.signature(DataLoader.__init__).parameters) - {'self'}) | _LOADER_EXTRA

PLAIN = {  # sections without a type, and the keys they take
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), _LOADER),
    'env_cfg': {'cudnn_benchmark', 'mp_cfg', 'dist_cfg', 'resource_limit'},
    'env_cfg.mp_cfg': {'mp_start_method', 'opencv_num_threads'},
    'randomness': {'seed', 'diff_rank_seed', 'deterministic'},
    'auto_scale_lr': {'enable', 'base_batch_size'},
}

SECTION_KEYS = (set(inspect.signature(Runner.__init__).parameters) - {'self', 'cfg'}) | set(
    'tasks only_tasks custom_imports model_wrapper_cfg find_unused_parameters sync_bn runner_type strategy compile '
    'tta_model tta_pipeline infer_pipeline study single_task_reference'.split()
)
"""Top-level keys with a meaning: mmengine's runner's and this package's."""


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

    def resolve(self) -> Any:
        """The class or function behind the type, or None."""
        if not isinstance(self.kind, str):
            return self.kind
        if self.kind.startswith('mmseg.'):
            from mmmtl.compat import enable_mmseg

            enable_mmseg()
        also = {own.METRICS: own.EVALUATOR, own.MODELS: root.MODEL_WRAPPERS}.get(self.registry)
        return self.registry.get(self.kind) or (also.get(self.kind) if also else None)

    def allowed_keys(self) -> tuple[set[str], bool]:
        """Arguments the component takes, and whether it may take others; an unknown type takes anything."""
        factory = self.resolve()
        names, is_open = (set(), True) if factory is None else accepted_arguments(factory)
        return names | {'type', '_scope_'} | _EXTRA_KEYS.get(self.registry, set()), is_open

    def registry_of(self, key: str) -> root.Registry | None:
        """The registry an argument's mapping is built with; None for one that is a plain argument.

        This package's classes build every mapping with a type that they take. Of other classes, mmengine's have
        arguments known by name, and the source of the rest says which argument goes to a registry's ``build``.
        """
        if key in _OPAQUE:
            return None
        factory = self.resolve()
        owner = owner_of_argument(factory, key)
        package = getattr(owner, '__module__', 'mmmtl').partition('.')[0]
        if factory is None or package == 'mmmtl' or key in _EXTRA_KEYS.get(self.registry, ()):
            return _BY_KEY.get(key, self.registry)
        return (_BY_KEY.get(key) if package == 'mmengine' else None) or built_arguments(owner).get(key)


def join(path: str, key: str | int) -> str:
    """``a.b`` + ``c`` = ``a.b.c``; list places are numbers as ``--cfg-options`` writes them."""
    return f'{path}.{key}' if path else str(key)


def components(config: Mapping) -> Iterator[Component]:
    """All components of a config, section by section."""
    for section in [s for s in SECTIONS if config.get(s) is not None]:
        value, registry = config[section], SECTIONS[section]
        kind = None
        if isinstance(value, Mapping) and 'type' not in value:
            kind = _DEFAULT_TYPES.get(section)
            if section == 'train_cfg':
                kind = 'EpochBasedTrainLoop' if value.get('by_epoch', True) else 'IterBasedTrainLoop'
        yield from _walk(value, section, registry, kind, is_mapping=section in ('tasks', 'default_hooks'))


def _walk(
    value: Any, path: str, registry: root.Registry, kind: Any = None, is_mapping: bool = False
) -> Iterator[Component]:
    """Components inside ``value``; in a mapping every entry must be one."""
    if isinstance(value, Mapping):
        here = None
        if (kind is not None or 'type' in value) and not is_mapping:
            here = Component(path, value, registry, value.get('type', kind))
            yield here
        for key, item in value.items():
            if not isinstance(item, (Mapping, list, tuple)):
                continue
            below = registry if is_mapping else here.registry_of(key) if here else _BY_KEY.get(key, registry)
            if below is None:
                continue
            if is_mapping and isinstance(item, Mapping) and 'type' not in item:
                yield Component(join(path, key), item, below, None)
            yield from _walk(item, join(path, key), below, is_mapping=key == 'tasks' and not is_mapping)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _walk(item, join(path, index), registry)


def anywhere(path: str, config: Mapping) -> Component:
    """The component of a dict outside the sections (``train_pipeline.0``): the first registry with its type."""
    found = [Component(path, config, r, config['type']) for r in dict.fromkeys([*SECTIONS.values(), *_BY_KEY.values()])]
    return next((c for c in found if c.resolve() is not None), found[0])
