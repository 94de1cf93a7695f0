"""Child registries of mmengine's, scope ``mmmtl``, with errors that name the nearest right name.

Components of the parents stay reachable by scope (``mmseg.SwinTransformer`` as a backbone); a registry imports the
rooms that fill it the first time it is asked for a name.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import textwrap
import warnings
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mmengine import registry as _root
from mmengine.config import ConfigDict
from mmengine.hooks import CheckpointHook
from mmengine.registry import build_from_cfg, init_default_scope
from mmengine.runner import Runner

from mmmtl.errors import ConfigError, FileError, suggest


def accepted_arguments(factory: Any) -> tuple[set[str], bool]:
    """Keyword arguments of a class or function.

    ``__init__(self, a, **kwargs)`` that hands its ``kwargs`` to ``super().__init__`` and does nothing else
    with them takes what its base takes; with any other use of ``kwargs`` every name may be right.

    Args:
        factory: A class or function.

    Returns:
        The names, and whether others may be accepted too.
    """
    if not inspect.isclass(factory):
        return _named_arguments(factory)
    names: set[str] = set()
    for base in factory.__mro__:
        init = vars(base).get('__init__')
        if init is None or base is object:
            continue
        own, is_open = _named_arguments(init)
        names |= own
        if is_open and base is CheckpointHook:  # it keeps the rest for one function
            return names | _named_arguments(Runner.save_checkpoint)[0], False
        if not is_open or not _hands_arguments_up(init):
            return names, is_open
    return names, False


def unknown_arguments(factory: Any, names: Iterable[str]) -> dict[str, str]:
    """Arguments that ``factory`` does not take: ``{name: text that names the nearest ones}``."""
    accepted, is_open = accepted_arguments(factory)
    return {} if is_open else {n: suggest(n, accepted) for n in names if n not in accepted}


def _named_arguments(function: Any) -> tuple[set[str], bool]:
    """Named arguments of one function, and whether it takes ``**kwargs``; unknown signatures accept anything."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return set(), True
    names = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and n != 'self'}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _syntax(thing: Any) -> ast.AST | None:
    """The syntax tree of a class or function; None where its source is not at hand."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None


def _hands_arguments_up(init: Any) -> bool:
    """True if the only use of ``**kwargs`` is ``super().__init__(..., **kwargs)``."""
    function = _syntax(init)
    if not isinstance(function, ast.FunctionDef) or function.args.kwarg is None:
        return False
    name = function.args.kwarg.arg
    uses = [n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == name]
    handed = [k.value for call in _super_inits(function) for k in call.keywords if k.arg is None]
    return len(uses) == 1 and any(use is value for use in uses for value in handed)


def _super_inits(tree: ast.AST) -> list[ast.Call]:
    """Calls of ``super().__init__`` or ``super(A, self).__init__``."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    return [c for c in calls if ast.unparse(c.func).startswith('super(') and c.func.attr == '__init__']  # type: ignore[attr-defined]


def owner_of_argument(factory: Any, name: str) -> Any:
    """The class, ``factory`` or one of its bases, that takes an argument itself rather than handing it up."""
    for base in factory.__mro__ if inspect.isclass(factory) else ():
        init = vars(base).get('__init__')
        if init is None or name not in _named_arguments(init)[0]:
            continue
        handed = [k for call in _super_inits(_syntax(init) or ast.Module([], [])) for k in call.keywords]
        if not any(k.arg == name and isinstance(k.value, ast.Name) and k.value.id == name for k in handed):
            return base
    return factory


def built_arguments(factory: Any) -> dict[str, _root.Registry]:
    """Arguments that the source of a class or function hands to a registry's ``build``, with that registry.

    ``MODELS.build(head)``, ``MODELS.build(dict(head, channels=3))``, ``[MODELS.build(h) for h in heads]`` and
    ``MODELS.build(self.head)`` are seen; a mapping with a ``type`` that is not built is a plain argument.
    """
    tree = _syntax(factory)
    if tree is None:
        return {}
    comes_from: dict[str, set[str]] = {}  # local name -> names it was made of
    built: dict[str, _root.Registry] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.NamedExpr, ast.For, ast.comprehension)):
            source = node.iter if isinstance(node, (ast.For, ast.comprehension)) else node.value
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in (n for n in ast.walk(target) if isinstance(n, (ast.Name, ast.Attribute))):
                    comes_from.setdefault(_last(name), set()).update(_config_names(source))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == 'build':
            module = inspect.getmodule(factory)
            registry = getattr(module, _last(node.func.value), None)
            if isinstance(registry, _root.Registry) and node.args:
                built.update(dict.fromkeys(_config_names(node.args[0]), registry))
    for _ in comes_from:  # follow names to the arguments they were made of
        built.update({origin: built[name] for name in list(built) for origin in comes_from.get(name, ())})
    return built


def _last(node: ast.AST) -> str:
    """``x`` of ``x`` and of ``self.x``."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ''


def _config_names(node: ast.AST) -> set[str]:
    """Names of what an expression takes as a config, not of what it adds to it: ``x`` of ``dict(x, size=y)``."""
    parts: list[ast.AST] = []
    if isinstance(node, (ast.Name, ast.Attribute)):
        return {_last(node)}
    if isinstance(node, ast.Call):
        method = [node.func.value] if isinstance(node.func, ast.Attribute) else []  # heads.items(), head.copy()
        parts = [*method, *node.args, *(k.value for k in node.keywords if k.arg is None)]
    elif isinstance(node, ast.Dict):
        parts = [value for key, value in zip(node.keys, node.values) if key is None]
    elif isinstance(node, ast.IfExp):
        parts = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        parts = list(node.values)
    elif isinstance(node, (ast.Subscript, ast.NamedExpr, ast.Starred)):
        parts = [node.value]
    return {name for part in parts for name in _config_names(part)}


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
                known = set(registry.module_dict) | set(registry.root.module_dict)
                raise ConfigError(
                    f"type='{kind}' is not in the registry '{registry.scope}::{registry.name}'."
                    f'{suggest(kind, known)} A type of your own is registered by importing its module '
                    f'(custom_imports, or an entry point of the group mmmtl.plugins).'
                )
        wrong = unknown_arguments(factory, (k for k in merged if k != '_scope_'))
        if wrong:
            listed = '; '.join(
                f"unknown argument '{name}' (= {merged[name]!r:.80}).{near}" for name, near in wrong.items()
            )
            raise ConfigError(f'{getattr(factory, "__name__", factory)}: {listed}')
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

PLUGIN_GROUP = 'mmmtl.plugins'
"""Entry points of this group are imported, so that what they register can be named in configs."""

_ROOMS = ('tasks', 'models', 'datasets', 'evaluation', 'visualization', 'engine')
_loaded: set[str] = set()


def _plugins() -> list[EntryPoint]:
    """Entry points of :data:`PLUGIN_GROUP`; Python 3.9 has no selection by group."""
    found = entry_points()
    return list(found.select(group=PLUGIN_GROUP) if hasattr(found, 'select') else found.get(PLUGIN_GROUP, ()))


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
