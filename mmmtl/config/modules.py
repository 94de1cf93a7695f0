"""Making components known: those of this package, and those of plug-in packages found by their entry point."""

from __future__ import annotations

import importlib
import warnings
from importlib.metadata import EntryPoint, entry_points

PLUGIN_GROUP = 'mmmtl.plugins'
"""Entry points of this group are imported, so that what they register can be named in configs."""

_ROOMS = (
    'mmengine.runner',
    'mmengine.visualization',
    'mmmtl.tasks',
    'mmmtl.models',
    'mmmtl.datasets',
    'mmmtl.evaluation',
    'mmmtl.visualization',
    'mmmtl.engine',
)
_loaded: set[str] = set()


def _plugins() -> list[EntryPoint]:
    """Entry points of :data:`PLUGIN_GROUP`; Python 3.9 has no selection by group."""
    found = entry_points()
    if hasattr(found, 'select'):
        return list(found.select(group=PLUGIN_GROUP))
    return list(found.get(PLUGIN_GROUP, ()))


def register_all_modules(init_default_scope: bool = True) -> list[str]:
    """Import everything that registers components, this package's and every installed plug-in's.

    A plug-in that cannot be imported is reported by a warning and left out: it must not stop runs that
    don't use it, and a config that names one of its components then fails with that name.

    Args:
        init_default_scope: Make ``mmmtl`` the scope in which names without a scope are looked up.

    Returns:
        Names of the plug-ins that are loaded.
    """
    for room in _ROOMS:
        importlib.import_module(room)
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
    if init_default_scope:
        from mmengine.registry import init_default_scope as set_scope

        set_scope('mmmtl')
    return sorted(_loaded)
