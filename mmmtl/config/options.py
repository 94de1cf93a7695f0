"""``--cfg-options``: what is wrong with them, and putting them into a config."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

from mmmtl.errors import ConfigError, suggest

from .files import merged
from .schema import PLAIN, SECTION_KEYS, Component, anywhere, components, join

_MISSING = object()


def spell_out(config: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with a mapping as value, in a place that holds one already, as one option for each entry."""
    spelt: dict[str, Any] = {}
    for key, value in options.items():
        node = _at(config, key)
        if isinstance(value, Mapping) and isinstance(node, Mapping) and not value.get('_delete_'):
            if node and not value:
                raise ConfigError(f"--cfg-options: '{key}={{}}' changes nothing; {{'_delete_': True}} empties it.")
            spelt.update(spell_out(config, {f'{key}.{k}': v for k, v in value.items()}))
        else:
            spelt[key] = int(value) if isinstance(value, float) and value.is_integer() and type(node) is int else value
    return spelt


def _at(node: Any, key: str) -> Any:
    """The value at a path, or a mark that there is none."""
    for part in key.split('.'):
        if isinstance(node, Mapping) and part in node:
            node = node[part]
        elif isinstance(node, (list, tuple)) and part.isdigit() and int(part) < len(node):
            node = node[int(part)]
        else:
            return _MISSING
    return node


def put(node: Any, path: Sequence[str], value: Any) -> Any:
    """A copy of a tree with a value at a path; mappings that are there already are merged."""
    if not path:
        return merged(node, value)
    head, *rest = path
    if isinstance(node, (list, tuple)):
        return type(node)(put(v, rest, value) if i == int(head) else v for i, v in enumerate(node))
    node = copy.copy(node) if isinstance(node, Mapping) else {}
    node[head] = put(node.get(head), rest, value)
    return node


def check_options(config: Mapping, options: Mapping[str, Any]) -> None:
    """Refuse keys that name no place in ``config``, and text in the place of a number, switch or container.

    A key may name what the config has, an argument the component there takes (of the type it has after the
    options), or a new entry of a mapping if the options give it a ``type`` (``tasks.extra.type=Depth``).

    Args:
        config: The config without the options.
        options: ``{'a.b.c': value}``.

    Raises:
        ConfigError: All wrong options, each with near names.
    """
    by_path = {c.path: c for c in components(config)}
    for key, kind in options.items():
        owner = by_path.get(key.removesuffix('.type'))
        if owner is not None and key.endswith('.type'):
            owner.kind = kind
    problems = [p for p in (_problem(config, key, value, options, by_path) for key, value in options.items()) if p]
    if problems:
        raise ConfigError('--cfg-options:\n' + '\n'.join(f'  {p}' for p in problems))


def _problem(
    config: Mapping, key: str, value: Any, options: Mapping[str, Any], by_path: Mapping[str, Component]
) -> str | None:
    """What is wrong with one option, or None."""
    node, path = config, ''
    owner: Component | None = None
    for part in key.split('.'):
        here = join(path, part)
        if isinstance(node, Mapping):
            owner = by_path.get(path) or (anywhere(path, node) if path and 'type' in node else None)
            if part not in node:
                return _unknown(node, path, part, key, options, owner)
            node = node[part]
        elif isinstance(node, (list, tuple)):
            if not part.isdigit() or int(part) >= len(node):
                return f"'{key}': {path} is a list; its places are 0 to {len(node) - 1}, not '{part}'."
            node = node[int(part)]
        elif node is None:  # a section or argument that is switched off may be given as a whole tree
            return None
        else:
            return f"'{key}': {path} is {node!r:.60}, which has no '{part}' inside."
        path = here
    return _wrong_kind(node, value, key, owner)


def _unknown(
    node: Mapping, path: str, part: str, key: str, options: Mapping[str, Any], owner: Component | None
) -> str | None:
    """What is wrong with a key that is not in the config at ``path``, or None if it may be added there."""
    names = set(map(str, node))
    if not path:
        names |= SECTION_KEYS
    elif owner is not None:
        accepted, is_open = owner.allowed_keys()
        if is_open:
            return None
        names |= accepted
    elif path in PLAIN:
        names |= PLAIN[path]
    elif f'{join(path, part)}.type' in options or isinstance(options.get(key), Mapping):
        return None
    if part in names:
        return None
    return f"'{key}': there is no '{part}' in {path or 'the config'}.{suggest(part, names)}"


def _wrong_kind(old: Any, value: Any, key: str, owner: Component | None) -> str | None:
    """A value of another kind than the file's, which its place cannot take."""
    said = f"'{key}={value}': the config has {old!r:.60} there"
    if isinstance(old, Mapping) and value is not None and not isinstance(value, Mapping):
        return f'{said}; a mapping is expected, {key}={{...}} or {key}.NAME=VALUE.'
    numbers = isinstance(old, (bool, int, float)) and isinstance(value, (str, Mapping, list, tuple))
    words = isinstance(old, str) and isinstance(value, (bool, int, float, list, tuple))
    entries = isinstance(old, (list, tuple)) and old and isinstance(value, str) and not isinstance(old[0], str)
    if not (numbers or words or entries):
        return None
    factory = owner.resolve() if owner is not None else None
    try:
        taken = str(inspect.signature(factory).parameters[key.rpartition('.')[2]].annotation)  # type: ignore[arg-type]
    except (TypeError, ValueError, KeyError):
        taken = ''
    if any(word in taken for word in (type(value).__name__, 'Any', *(('Sequence',) if words else ()))):
        return None
    if words:
        return f'{said}; text is expected: quotes keep it text, {key}="\'{value}\'".'
    return f'{said}; {"a list" if entries else "a number" if type(old) is not bool else "true or false"} is expected.'
