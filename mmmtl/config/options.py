"""``--cfg-options``: refusing mistyped keys, and carrying a changed top-level value to every place that repeats it."""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping, Sequence
from typing import Any

from mmmtl.errors import ConfigError, suggest

from .schema import Component, allowed_keys, anywhere, components, join, plain_keys, section_keys


def check_options(config: Mapping, options: Mapping[str, Any]) -> None:
    """Refuse keys that name no place in ``config``.

    A key may name what the config has, an argument the component there takes, or a new entry of a mapping
    if the options give it a ``type`` (``tasks.extra.type=Depth``).

    Args:
        config: The config as its file says, without the options.
        options: ``{'a.b.c': value}``.

    Raises:
        ConfigError: All wrong keys, each with near names.
    """
    by_path = {c.path: c for c in components(config)}
    problems = [p for p in (_problem(config, key, options, by_path) for key in options) if p]
    if problems:
        listed = '\n'.join(f'  {p}' for p in problems)
        raise ConfigError(f'--cfg-options:\n{listed}')


def _problem(config: Mapping, key: str, options: Mapping[str, Any], by_path: Mapping[str, Component]) -> str | None:
    """What is wrong with one key, or None."""
    node: Any = config
    path = ''
    for part in key.split('.'):
        here = join(path, part)
        if isinstance(node, Mapping):
            if part not in node:
                return _unknown(node, path, part, key, options, by_path)
            node = node[part]
        elif isinstance(node, Sequence) and not isinstance(node, str):
            if not part.isdigit() or int(part) >= len(node):
                return f"'{key}': {path} is a list; its places are 0 to {len(node) - 1}, not '{part}'."
            node = node[int(part)]
        elif node is None:  # a section or argument that is switched off may be given as a whole tree
            return None
        else:
            return f"'{key}': {path} is {node!r:.60}, which has no '{part}' inside."
        path = here
    return None


def _unknown(
    node: Mapping, path: str, part: str, key: str, options: Mapping[str, Any], by_path: Mapping[str, Component]
) -> str | None:
    """What is wrong with a key that is not in the config at ``path``, or None if it may be added there."""
    here = join(path, part)
    names = set(map(str, node))
    if not path:
        names |= section_keys()
    elif path in by_path or 'type' in node:
        accepted, is_open = allowed_keys(by_path.get(path) or anywhere(path, node))
        if is_open:
            return None
        names |= accepted
    elif (known := plain_keys(path)) is not None:
        names |= known
    elif f'{here}.type' in options or isinstance(options.get(key), Mapping):
        return None
    if part in names:
        return None
    return f"'{key}': there is no '{part}' in {path or 'the config'}.{suggest(part, names)}"


def find_copies(config: Mapping, name: str) -> list[str]:
    """Paths below the top level where a key ``name`` holds the same value as the top-level one."""
    wanted = config.get(name)
    found: list[str] = []

    def visit(node: Any, path: str) -> None:
        if isinstance(node, Mapping):
            for key, value in node.items():
                here = join(path, key)
                if key == name and type(value) is type(wanted) and value == wanted:
                    found.append(here)
                else:
                    visit(value, here)
        elif isinstance(node, Sequence) and not isinstance(node, str):
            for index, value in enumerate(node):
                visit(value, join(path, index))

    for section in sorted(section_keys() - {name}):
        if isinstance(config.get(section), (Mapping, list, tuple)):
            visit(config[section], section)
    return found


def put_copies(config: Any, name: str, old: Any, paths: Sequence[str]) -> list[str]:
    """Write the top-level value ``name`` to every one of ``paths`` that still holds ``old``; returns those."""
    written = []
    for path in paths:
        *parents, last = path.split('.')
        node: Any = config
        for part in parents:
            node = node[int(part)] if isinstance(node, Sequence) else node.get(part)
            if node is None:
                break
        if isinstance(node, MutableMapping) and last in node and node[last] == old:
            node[last] = copy.deepcopy(config[name])
            written.append(path)
    return written


def keep_tasks(tasks: Mapping[str, Any], only: Sequence[str] | str) -> dict[str, Any]:
    """The tasks named in ``only``, in the order of ``tasks``.

    Raises:
        ConfigError: A name that is none of the tasks, or no name at all.
    """
    only = [only] if isinstance(only, str) else list(only)
    wrong = [name for name in only if name not in tasks]
    if wrong or not only:
        near = suggest(wrong[0], tasks) if wrong else ''
        raise ConfigError(f'only_tasks={only}: name some of the tasks {list(tasks)}.{near}')
    return {name: task for name, task in tasks.items() if name in only}


def forget_names(node: Any, dropped: set[str]) -> Any:
    """A config section without references to tasks that are gone.

    Arguments equal to such a name become None; lists lose it, and mappings its key. Task configs themselves
    (below a key ``tasks``) and what describes data (``metainfo``) are left alone.
    """
    if isinstance(node, Mapping):
        return {
            key: value if key in ('tasks', 'metainfo') else forget_names(value, dropped)
            for key, value in node.items()
            if key not in dropped
        }
    if isinstance(node, (list, tuple)):
        return type(node)(forget_names(v, dropped) for v in node if not (isinstance(v, str) and v in dropped))
    return None if isinstance(node, str) and node in dropped else node
