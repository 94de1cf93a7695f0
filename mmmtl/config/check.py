"""A config read as a whole before anything is built: every type, every argument, every folder it names."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.runner import EpochBasedTrainLoop

from mmmtl import registry as own
from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import register_all_modules

from .schema import PLAIN, SECTION_KEYS, Component, components

PARTS = {
    'model': ('tasks', 'model', 'model_wrapper_cfg'),
    'train': (
        'train_dataloader',
        'train_cfg',
        'optim_wrapper',
        'param_scheduler',
        'default_hooks',
        'custom_hooks',
        'visualizer',
        'log_processor',
        'env_cfg',
        'randomness',
        'auto_scale_lr',
    ),
    'val': ('val_dataloader', 'val_cfg', 'val_evaluator'),
    'test': ('test_dataloader', 'test_cfg', 'test_evaluator', 'default_hooks', 'custom_hooks', 'visualizer', 'env_cfg'),
}


def check_config(
    cfg: Config | Mapping, parts: Sequence[str] = ('model', 'train', 'val', 'test'), files: bool = True
) -> None:
    """Check a config without building anything; all problems are reported at once.

    Every ``type`` must be in the registry of its section, every argument must be one its class takes, every
    ``data_root`` and checkpoint must exist.

    Args:
        cfg: The config.
        parts: Which parts will be used: some of ``model``, ``train``, ``val``, ``test``.
        files: Look for folders and files, too.

    Raises:
        ConfigError: Naming path, value and near names of every problem.
    """
    register_all_modules(set_scope=False)
    where = getattr(cfg, 'filename', None) or 'the config'
    cfg = cfg._cfg_dict if isinstance(cfg, Config) else cfg
    sections = {s for part in parts for s in PARTS[part]}
    problems = list(_misnamed_sections(cfg))
    for component in components({k: v for k, v in cfg.items() if k in sections}):
        problems += _component_problems(component)
        if files:
            problems += _file_problems(component)
    problems += [p for section in sections for p in _plain_problems(cfg, section)]
    if 'param_scheduler' in sections:
        problems += _scheduler_problems(cfg.get('param_scheduler'))
        problems += _loop_problems(cfg)
    if files:
        problems += _top_level_files(cfg)
    if problems:
        problems = merge_repeated(list(dict.fromkeys(problems)))
        count = 'one problem' if len(problems) == 1 else f'{len(problems)} problems'
        listed = '\n'.join(f'  {i}. {p}' for i, p in enumerate(problems, 1))
        raise ConfigError(f'{count} in {where}:\n{listed}')


def merge_repeated(problems: Sequence[str]) -> list[str]:
    """Problems that differ in their path alone (``a.data_root=X: ...``, ``b.data_root=X: ...``) as one."""
    paths: dict[str, list[str]] = {}
    for problem in problems:
        path, sign, rest = problem.partition('=')
        owner, _, name = path.rpartition('.')
        key = f'{name}={rest}' if sign and ' ' not in path else problem
        paths.setdefault(key, []).append(owner if sign and ' ' not in path else '')
    merged = []
    for key, owners in paths.items():
        owners = [owner for owner in owners if owner]
        name = key.partition('=')[0]
        also = ', '.join(f'{owner}.{name}' for owner in owners[1:])
        merged.append((f'{owners[0]}.{key}' if owners else key) + (f' (also {also})' if also else ''))
    return merged


def _misnamed_sections(cfg: Mapping) -> Iterator[str]:
    """Top-level names that are no section but look much like one that is absent."""
    import difflib

    for key, value in cfg.items():
        if key in SECTION_KEYS or not isinstance(value, (Mapping, list)):
            continue
        near = difflib.get_close_matches(key, [k for k in SECTION_KEYS if k not in cfg], n=1, cutoff=0.9)
        if near:
            yield f"'{key}' is not a section of a config. Did you mean '{near[0]}'?"


def _component_problems(component: Component) -> Iterator[str]:
    """Unknown type, unknown arguments."""
    path, config, registry = component.path, component.config, component.registry
    if component.kind is None:
        yield f'{path} needs a type, it has only {sorted(map(str, config))}.'
        return
    try:
        factory = component.resolve()
    except ImportError as error:
        yield f"{path}.type='{component.kind}' can't be looked up: {error}"
        return
    if factory is None:
        yield f"{path}.type='{component.kind}' {_where_else(component.kind, registry)}"
        return
    accepted, is_open = component.allowed_keys()
    if is_open:
        return
    for name, value in config.items():
        if name not in accepted:
            label = getattr(factory, '__name__', component.kind)
            near = suggest(name, accepted - {'_scope_'})
            yield f"{path}.{name}={value!r:.60}: {label} takes no argument '{name}'.{near}"


def _where_else(kind: str, registry: Any) -> str:
    """Why a type was not found: near names, or the other registry it is in."""
    scope, _, _ = kind.rpartition('.')
    if scope and (elsewhere := _registry_of(registry, scope)) is not None:
        near = suggest(kind, (f'{scope}.{name}' for name in elsewhere.module_dict))
        return f'is not in the registry {scope}::{registry.name}.{near}'
    known = set(registry.module_dict)
    parent = registry.parent
    while parent is not None:
        known |= set(parent.module_dict)
        parent = parent.parent
    text = f'is not in the registry {registry.scope}::{registry.name}.{suggest(kind, known)}'
    others = [
        r for r in vars(own).values() if isinstance(r, own.Registry) and r is not registry and kind in r.module_dict
    ]
    if others:
        text += f' It is a {others[0].name}, not a {registry.name}.'
    elif not suggest(kind, known):
        text += (
            ' A type of your own is registered by importing its module (custom_imports, or an entry point of the '
            'group mmmtl.plugins).'
        )
    return text


def _registry_of(registry: Any, scope: str) -> Any:
    """The registry of the same kind in another package's scope, or None."""
    while registry.parent is not None:
        registry = registry.parent
    return registry if registry.scope == scope else registry.children.get(scope)


def _scheduler_problems(schedulers: Any) -> Iterator[str]:
    """Schedulers that end before they begin, as after shortening a run."""
    for index, scheduler in enumerate(schedulers if isinstance(schedulers, (list, tuple)) else []):
        begin, end = scheduler.get('begin', 0), scheduler.get('end')
        if end is not None and begin >= end:
            yield (
                f'param_scheduler.{index}: {scheduler.get("type")} begins at {begin} and ends at {end}; a run '
                f'this short needs another schedule, for example --cfg-options param_scheduler=None.'
            )


def _loop_problems(cfg: Mapping) -> Iterator[str]:
    """A loop by epochs over a stream of samples that has no end."""
    kinds = list(components({k: cfg.get(k) for k in ('train_cfg', 'train_dataloader')}))
    loop = next((c.resolve() for c in kinds if c.path == 'train_cfg'), None)
    if not isinstance(loop, type) or not issubclass(loop, EpochBasedTrainLoop):
        return
    for component in (c for c in kinds if c.path in ('train_dataloader.sampler', 'train_dataloader.batch_sampler')):
        if component.kind in ('ResumableSampler', 'InfiniteSampler', 'TaskCycleBatchSampler'):
            yield (
                f"train_cfg.type='{loop.__name__}' waits for the end of an epoch, and {component.path}.type="
                f"'{component.kind}' gives samples without end. Use train_cfg.type='ResumableTrainLoop' with "
                f"train_cfg.max_epochs, or train_dataloader.sampler.type='DefaultSampler'."
            )


def _file_problems(component: Component) -> Iterator[str]:
    """Folders and files a component names that do not exist."""
    config, path = component.config, component.path
    root = config.get('data_root')
    if component.registry is own.DATASETS and root and not osp.isdir(str(root)):
        yield (
            f"{path}.data_root='{root}' does not exist. Say where the data is with --cfg-options "
            f'data_root=DIR, or put a link there.'
        )
    if component.registry is own.DATASETS:
        for name in ('ann_file', 'split_file'):
            file = config.get(name)
            if file and osp.isdir(str(root or '.')) and not osp.exists(osp.join(str(root or ''), str(file))):
                yield f"{path}.{name}='{file}' does not exist in '{root or '.'}'."
    label_map = config.get('path')
    if component.registry is own.LABEL_SAMPLERS and label_map and not osp.isfile(str(label_map)):
        yield f"{path}.path='{label_map}' does not exist."
    checkpoint = config.get('checkpoint')
    if component.registry is own.MODELS and isinstance(checkpoint, str) and checkpoint and '://' not in checkpoint:
        if not osp.exists(checkpoint):
            yield f"{path}.checkpoint='{checkpoint}' does not exist."


def _top_level_files(cfg: Mapping) -> Iterator[str]:
    """A checkpoint to start from that does not exist."""
    load_from = cfg.get('load_from')
    if load_from and '://' not in str(load_from) and not osp.isfile(str(load_from)):
        yield f"load_from='{load_from}' does not exist."


def _plain_problems(cfg: Mapping, section: str) -> Iterator[str]:
    """Unknown keys of sections that have no type."""
    for path in (section, f'{section}.mp_cfg'):
        accepted = PLAIN.get(path)
        node: Any = cfg
        for part in path.split('.'):
            node = node.get(part) if isinstance(node, Mapping) else None
        if accepted is None or not isinstance(node, Mapping):
            continue
        for name, value in node.items():
            if name not in accepted:
                yield f'{path}.{name}={value!r:.60}: there is no such key.{suggest(name, accepted)}'
