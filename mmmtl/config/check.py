"""A config read as a whole before anything is built: every type, every argument, every folder it names."""

from __future__ import annotations

import difflib
import os
import os.path as osp
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import DATASETS, LABEL_SAMPLERS, MEANT, MODELS, PLAIN, Component, not_found, register_all_modules
from mmmtl.tasks.agreement import task_problems
from mmmtl.utils.loops import loop_problems
from mmmtl.utils.signatures import expected_kind
from mmmtl.utils.trees import at

from .sections import components

_ALL = 'default_hooks custom_hooks visualizer env_cfg'
_TRAIN = 'train_dataloader train_cfg optim_wrapper param_scheduler log_processor randomness auto_scale_lr'
PARTS = {
    'model': ['tasks', 'model', 'model_wrapper_cfg'],
    'train': f'{_TRAIN} {_ALL}'.split(),
    'val': ['val_dataloader', 'val_cfg', 'val_evaluator'],
    'test': f'test_dataloader test_cfg test_evaluator {_ALL}'.split(),
}


def check_config(cfg: Config | Mapping, parts: Sequence[str] = tuple(PARTS), files: bool = True) -> None:
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
    used = {k: v for k, v in cfg.items() if any(k in PARTS[part] for part in parts)}
    problems = [('', text) for text in _section_problems(cfg, used)]
    for component in components(used):
        problems += [(component.path, text) for text in _component_problems(component)]
        problems += [(component.path, text) for text in _file_problems(component)] if files else []
    load_from = str(cfg.get('load_from') or '')
    if files and load_from and '://' not in load_from and not osp.isfile(osp.join(load_from, 'rest.pth')):
        inside = osp.isdir(load_from) and sorted(name for name in os.listdir(load_from) if name.endswith('.pth'))
        wrong = f'is a folder. In it there are {inside[:8]}.' if isinstance(inside, list) else 'does not exist.'
        problems += [] if osp.isfile(load_from) else [('', f"load_from='{load_from}' {wrong}")]
    problems = problems or [('', text) for text in task_problems(used)]
    told: dict[str, list[str]] = {}
    for path, text in dict.fromkeys(problems):  # those that differ in their path alone are told once
        told.setdefault(text, []).append(path)
    lines: list[str] = []
    for text, paths in told.items():
        first, *others = [f'{path}{text}' for path in paths]
        also = ', '.join(other.partition('=')[0] for other in others)
        lines.append(f'  {len(lines) + 1}. {first}' + (f' (also {also})' if also else ''))
    if lines:
        count = 'one problem' if len(lines) == 1 else f'{len(lines)} problems'
        raise ConfigError(f'{count} in {where}:\n' + '\n'.join(lines))


def _component_problems(component: Component) -> Iterator[str]:
    """Unknown type, unknown arguments; what follows the component's path in the message."""
    if component.kind is None:
        yield f' needs a type, it has only {sorted(map(str, component.config))}.'
        return
    try:
        factory = component.resolve()
    except ImportError as error:
        yield f".type='{component.kind}' can't be looked up: {error}"
        return
    if factory is None:
        yield f".type='{component.kind}' {not_found(component.kind, component.registry)}"
        return
    accepted, is_open = component.allowed_keys()
    label = getattr(factory, '__name__', component.kind)
    for name in component.config if not is_open else ():
        if name not in accepted:
            near = suggest(name, accepted - {'_scope_'})
            yield f".{name}={component.config[name]!r:.60}: {label} takes no argument '{name}'.{near}"
    for name in [n for n, value in component.config.items() if isinstance(value, str) and n not in ('type', '_scope_')]:
        if expected := expected_kind(factory, name):
            yield f'.{name}={component.config[name]!r:.60}: {label} takes {expected} there.'


def _file_problems(component: Component) -> Iterator[str]:
    """Folders and files a component names that do not exist."""
    config, registry = component.config, component.registry
    root = str(config.get('data_root') or '')
    if registry is DATASETS and root and not osp.isdir(osp.expanduser(root)):
        remedy = 'Say where the data is with --cfg-options data_root=DIR, or put a link there.'
        yield f".data_root='{root}' does not exist. {remedy}"
    elif registry is DATASETS:
        for name in [n for n in ('ann_file', 'split_file') if config.get(n)]:
            if not osp.exists(osp.join(osp.expanduser(root), str(config[name]))):
                yield f".{name}='{config[name]}' does not exist in '{root or '.'}'."
    name = {LABEL_SAMPLERS: 'path', MODELS: 'checkpoint'}.get(registry, '')
    file = config.get(name)
    if isinstance(file, str) and file and '://' not in file and not osp.isfile(file):
        yield f".{name}='{file}' does not exist."


def _section_problems(cfg: Mapping, used: Mapping) -> Iterator[str]:
    """Names that are nearly those of sections, keys of sections without a type, schedules and loops that can't work."""
    for key in [k for k, v in cfg.items() if k not in MEANT and isinstance(v, (Mapping, list))]:
        if near := difflib.get_close_matches(key, [k for k in MEANT if k not in cfg], n=1, cutoff=0.9):
            yield f"'{key}' is not a section of a config. Did you mean '{near[0]}'?"
    for path, accepted in PLAIN.items():
        section: Any = at(used, path)
        for name in [n for n in section if n not in accepted] if isinstance(section, Mapping) else ():
            yield f'{path}.{name}={section[name]!r:.60}: there is no such key.{suggest(name, accepted)}'
    for part in ('val', 'test'):
        names = [f'{part}_{name}' for name in ('dataloader', 'cfg', 'evaluator')]
        lacking = [name for name in names if not cfg.get(name)]
        if cfg.get(f'{part}_cfg') and f'{part}_cfg' in used and lacking:
            yield f'{part}_cfg needs {" and ".join(lacking)}: give all three of {", ".join(names)}, or set all to None.'
    kinds = {c.path: c for c in components(used) if c.path.startswith('train_')}
    loop = kinds['train_cfg'].resolve() if 'train_cfg' in kinds else None
    yield from loop_problems(used, loop, {path: component.kind for path, component in kinds.items()})
