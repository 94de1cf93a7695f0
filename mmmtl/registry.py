"""Child registries of mmengine's, scope ``mmmtl``, with errors that name the nearest right name.

Components of the parents stay reachable by scope (``mmseg.SwinTransformer`` as a backbone); a registry imports the
rooms that fill it the first time it is asked for a name.
"""

from __future__ import annotations

import importlib
import inspect
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mmengine import registry as _root
from mmengine.config import ConfigDict
from mmengine.registry import build_from_cfg, init_default_scope
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmmtl.compat import read_as_data
from mmmtl.errors import ConfigError, FileError, UserError, suggest
from mmmtl.utils.signatures import accepted_arguments, built_arguments, owner_of_argument, unknown_arguments

read_as_data()


def _build(cfg: Any, registry: _root.Registry, default_args: Any = None) -> Any:
    """Build ``cfg`` with errors that say what was wrong and what is near."""
    if (
        isinstance(cfg, (dict, ConfigDict))
        and 'type' in cfg
        or isinstance(default_args, dict)
        and 'type' in default_args
    ):
        merged = {**(default_args or {}), **cfg}
        kind = merged.pop('type')
        factory = kind
        if isinstance(kind, str):
            factory = registry.get(kind)
            if factory is None:
                raise ConfigError(f"type='{kind}' {not_found(kind, registry)}")
        wrong = unknown_arguments(factory, (k for k in merged if k != '_scope_'))
        if wrong:
            listed = '; '.join(
                f"unknown argument '{name}' (= {merged[name]!r:.80}).{near}" for name, near in wrong.items()
            )
            raise ConfigError(f'{getattr(factory, "__name__", factory)}: {listed}')
        try:
            return build_from_cfg(cfg, registry, default_args)
        except UserError:
            raise
        except (ValueError, TypeError, AssertionError) as error:  # a constructor of any package refuses its arguments
            name = getattr(factory, '__name__', factory)
            given = ', '.join(f'{key}={value!r:.60}' for key, value in merged.items() if key != '_scope_')
            kind = '' if isinstance(error, ValueError) else f'{type(error).__name__}: '
            raise ConfigError(f'{name}({given:.600}): {kind}{error}') from error
    return build_from_cfg(cfg, registry, default_args)


class Registry(_root.Registry):
    """mmengine's registry; a name it does not know comes back with the nearest ones, a wrong argument is an error."""

    def __init__(self, name: str, parent: _root.Registry | None = None, locations: list[str] | None = None):
        super().__init__(name, build_func=_build, parent=parent, scope='mmmtl', locations=locations or [])

    def get(self, key: str) -> Any:
        """The component registered as ``key``, with or without a scope, or None."""
        if isinstance(key, str) and key.startswith('mmseg.'):
            from mmmtl.compat import stub_mmcv_ops

            stub_mmcv_ops()  # mmsegmentation imports compiled operators that mmcv-lite does not have
        return super().get(key)


def not_found(kind: str, registry: _root.Registry) -> str:
    """Why a type was not found: near names, or the other registry it is in."""
    chain = [registry]
    while chain[-1].parent is not None:
        chain.append(chain[-1].parent)
    scope = kind.rpartition('.')[0]
    elsewhere = chain[-1] if chain[-1].scope == scope else chain[-1].children.get(scope)
    if scope and elsewhere is not None:
        near = suggest(kind, (f'{scope}.{name}' for name in elsewhere.module_dict))
        return f'is not in the registry {scope}::{registry.name}.{near}'
    near = suggest(kind, {name for one in chain for name in one.module_dict})
    other = next((r for r in globals().values() if isinstance(r, Registry) and kind in r.module_dict), None)
    if other is not None:
        near += f' It is a {other.name}, not a {registry.name}.'
    near += (
        ' A type of your own is registered by importing its module (custom_imports, or an entry point of the group '
        f'{PLUGIN_GROUP}).'
    )
    return f'is not in the registry {registry.scope}::{registry.name}.{near}'


def look_up(registry: Registry, name: Any, base: type) -> type:
    """The registered class that a data file names; unlike ``build``, it never imports what the name looks like.

    Args:
        registry: Where to look; its own components alone, parents' are not reached.
        name: What the file says, with or without the scope ``mmmtl``.
        base: What the class must be.

    Raises:
        FileError: Anything else than the name of a registered class of this kind.
    """
    registry.import_from_location()
    known = {n: c for n, c in registry.module_dict.items() if inspect.isclass(c) and issubclass(c, base)}
    plain = name.removeprefix('mmmtl.') if isinstance(name, str) else None
    if plain not in known:
        raise FileError(
            f"it names the type {name!r:.80}, which is no {base.__name__} of the registry '{registry.name}'."
            f'{suggest(str(name)[:80], known)} A type of a plug-in is there once the plug-in is imported.'
        )
    return known[plain]


MODELS = Registry('model', parent=_root.MODELS, locations=['mmmtl.models'])
CONVERTERS = Registry('converter of published checkpoints', locations=['mmmtl.models'])
TASKS = Registry('task', locations=['mmmtl.tasks'])
DATASETS = Registry('dataset', parent=_root.DATASETS, locations=['mmmtl.datasets'])
TRANSFORMS = Registry('transform', parent=_root.TRANSFORMS, locations=['mmmtl.datasets.transforms'])
LABEL_SAMPLERS = Registry('label sampler', locations=['mmmtl.datasets'])
DATA_SAMPLERS = Registry('data sampler', parent=_root.DATA_SAMPLERS, locations=['mmmtl.engine'])
METRICS = Registry('metric', parent=_root.METRICS, locations=['mmmtl.evaluation'])
EVALUATOR = Registry('evaluator', parent=_root.EVALUATOR, locations=['mmmtl.evaluation'])
HOOKS = Registry('hook', parent=_root.HOOKS, locations=['mmmtl.engine'])
LOOPS = Registry('loop', parent=_root.LOOPS, locations=['mmmtl.engine'])
OPTIMIZERS = Registry('optimizer', parent=_root.OPTIMIZERS, locations=['mmmtl.engine'])
OPTIM_WRAPPERS = Registry('optimizer wrapper', parent=_root.OPTIM_WRAPPERS, locations=['mmmtl.engine'])
OPTIM_WRAPPER_CONSTRUCTORS = Registry(
    'optimizer wrapper constructor', parent=_root.OPTIM_WRAPPER_CONSTRUCTORS, locations=['mmmtl.engine']
)
BALANCERS = Registry('balancer', locations=['mmmtl.engine'])
PARAM_SCHEDULERS = Registry('parameter scheduler', parent=_root.PARAM_SCHEDULERS, locations=['mmmtl.engine'])
VISUALIZERS = Registry('visualizer', parent=_root.VISUALIZERS, locations=['mmmtl.visualization'])
VISBACKENDS = Registry('vis_backend', parent=_root.VISBACKENDS, locations=['mmmtl.visualization'])

SECTIONS: dict[str, _root.Registry] = {
    'model': MODELS,
    'tasks': TASKS,
    **dict.fromkeys(('train_dataloader', 'val_dataloader', 'test_dataloader'), DATASETS),
    **dict.fromkeys(('train_cfg', 'val_cfg', 'test_cfg'), LOOPS),
    'optim_wrapper': OPTIM_WRAPPERS,
    'param_scheduler': PARAM_SCHEDULERS,
    **dict.fromkeys(('val_evaluator', 'test_evaluator'), METRICS),
    **dict.fromkeys(('default_hooks', 'custom_hooks'), HOOKS),
    'visualizer': VISUALIZERS,
    'infer_pipeline': TRANSFORMS,
    'log_processor': _root.LOG_PROCESSORS,
    'model_wrapper_cfg': _root.MODEL_WRAPPERS,
}
"""Sections of a config, and the registry that builds what is in them."""

LATE = set(SECTIONS) - {'tasks'}
"""Sections are changed after the files have run: ``test_dataloader = val_dataloader`` are two things from then on."""

DEFAULT_TYPES = dict(
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

BY_KEY: dict[str, _root.Registry] = {
    'tasks': TASKS,
    **dict.fromkeys(('metric', 'metrics'), METRICS),
    **dict.fromkeys(('dataset', 'datasets'), DATASETS),
    **dict.fromkeys(('pipeline', 'transforms'), TRANSFORMS),
    'label_sampler': LABEL_SAMPLERS,
    **dict.fromkeys(('sampler', 'batch_sampler'), DATA_SAMPLERS),
    **dict.fromkeys(('collate_fn', 'worker_init_fn'), _root.FUNCTIONS),
    'optimizer': OPTIMIZERS,
    'balancer': BALANCERS,
    'vis_backends': VISBACKENDS,
    'loss': MODELS,
    'init_cfg': _root.WEIGHT_INITIALIZERS,
}
"""Arguments of this package's and of mmengine's classes that another registry builds than that of the class."""

_PLAIN_ARGUMENTS = ('clip_grad', 'metainfo', 'paramwise_cfg', 'timm_options')
_TAKEN_BEFORE = {  # keys that mmengine takes out of a config before it builds the class
    LOOPS: {'by_epoch'},
    HOOKS: {'priority'},
    OPTIM_WRAPPERS: {'constructor', 'paramwise_cfg', 'optimizer'},
    PARAM_SCHEDULERS: {'convert_to_iter_based'},
    VISBACKENDS: {'name'},
}


@dataclass
class Component:
    """A mapping of a config that becomes an object.

    Attributes:
        path: Where it stands, for example ``model.decoder``.
        config: The mapping.
        registry: Where its type is looked up.
        kind: The type's name or class; None where a type is missing.
    """

    path: str
    config: Mapping
    registry: _root.Registry
    kind: Any

    def resolve(self) -> Any:
        """The class or function behind the type, or None."""
        if not isinstance(self.kind, str):
            return self.kind
        if self.kind.startswith('mmseg.'):
            from mmmtl.compat import enable_mmseg

            enable_mmseg()
        also = {METRICS: EVALUATOR, MODELS: _root.MODEL_WRAPPERS}.get(self.registry)
        return self.registry.get(self.kind) or (also.get(self.kind) if also else None)

    def allowed_keys(self) -> tuple[set[str], bool]:
        """Arguments the component takes, and whether it may take others; an unknown type takes anything."""
        factory = self.resolve()
        names, is_open = (set(), True) if factory is None else accepted_arguments(factory)
        return names | {'type', '_scope_'} | _TAKEN_BEFORE.get(self.registry, set()), is_open

    def registry_of(self, key: str) -> _root.Registry | None:
        """The registry an argument's mapping is built with; None for one that is a plain argument.

        This package's classes build every mapping with a type that they take. Of other classes, mmengine's have
        arguments known by name, and the source of the rest says which argument goes to a registry's ``build``.
        """
        if key in _PLAIN_ARGUMENTS:
            return None
        factory = self.resolve()
        owner = owner_of_argument(factory, key)
        package = getattr(owner, '__module__', 'mmmtl').partition('.')[0]
        if factory is None or package == 'mmmtl' or key in _TAKEN_BEFORE.get(self.registry, ()):
            return BY_KEY.get(key, self.registry)
        return (BY_KEY.get(key) if package == 'mmengine' else None) or built_arguments(owner).get(key)


PLUGIN_GROUP = 'mmmtl.plugins'
"""Entry points of this group are imported, so that what they register can be named in configs."""

_ROOMS = ('tasks', 'models', 'datasets', 'evaluation', 'visualization', 'engine')
_loaded: set[str] = set()


def _plugins() -> list[EntryPoint]:
    """Entry points of :data:`PLUGIN_GROUP`."""
    return list(entry_points(group=PLUGIN_GROUP))


def register_all_modules(set_scope: bool = True) -> list[str]:
    """Import everything that registers components, this package's and every installed plug-in's.

    A plug-in that cannot be imported is reported by a warning and left out: it must not stop runs that
    don't use it, and a config that names one of its components then fails with that name.

    Args:
        set_scope: Make ``mmmtl`` the scope in which names without a scope are looked up.

    Returns:
        Names of the plug-ins that are loaded.
    """
    for module in ('mmengine.runner', 'mmengine.visualization', *(f'mmmtl.{room}' for room in _ROOMS)):
        importlib.import_module(module)
    for plugin in _plugins():
        if plugin.value in _loaded:
            continue
        try:
            plugin.load()
        except Exception as error:  # noqa: BLE001 - anything may happen in foreign code
            warnings.warn(
                f"mmmtl plug-in '{plugin.name}' ({plugin.value}) can't be imported and is left out: "
                f'{type(error).__name__}: {error}'
            )
        else:
            _loaded.add(plugin.value)
    if set_scope:
        init_default_scope('mmmtl')
    return sorted(_loaded)
