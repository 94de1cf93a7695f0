"""Child registries of mmengine's, scope ``mmmtl``, with errors that name the nearest right name.

Components of the parents stay reachable by scope (``mmseg.SwinTransformer`` as a backbone); a registry imports the
rooms that fill it the first time it is asked for a name.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

from mmengine import registry as _root
from mmengine.config import ConfigDict
from mmengine.registry import build_from_cfg

from mmmtl.errors import ConfigError, suggest


def _initialisers(factory: Any) -> list[Any]:
    """What receives the arguments of ``factory``: a class and, where ``**kwargs`` hands them on, its parents.

    The classes of other frameworks also swallow ``**kwargs``, so theirs are not followed.
    """
    if not inspect.isclass(factory):
        return [factory]
    own = [vars(c)['__init__'] for c in factory.__mro__ if '__init__' in vars(c) and c is not object]
    foreign = factory.__module__.split('.')[0] in ('mmengine', 'mmcv', 'mmseg', 'torch', 'timm')
    return own[:1] if foreign else own


def unknown_arguments(factory: Any, names: Iterable[str]) -> dict[str, str]:
    """Arguments that ``factory`` does not take.

    Args:
        factory: A class or function.
        names: Keyword argument names to check.

    Returns:
        ``{name: suggestion text}``, empty when all are accepted. ``**kwargs`` means "what my parent class takes"; under
        another name (``**timm_options``) anything is accepted.
    """
    accepted: list[str] = []
    for init in _initialisers(factory):
        try:
            parameters = inspect.signature(init).parameters
        except (TypeError, ValueError):  # built-ins without a signature
            return {}
        accepted += [
            n for n, p in parameters.items() if n != 'self' and p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
        ]
        rest = next((n for n, p in parameters.items() if p.kind is p.VAR_KEYWORD), None)
        if rest is None:
            break
        if rest != 'kwargs':  # it takes what another library takes
            return {}
    else:
        return {}
    return {n: suggest(n, accepted) for n in names if n not in accepted}


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


MODELS = Registry('model', parent=_root.MODELS, locations=['mmmtl.models'])
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
