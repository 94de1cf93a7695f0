"""``--cfg-options``: what is wrong with them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from mmmtl.errors import ConfigError, suggest
from mmmtl.registry import MEANT, PLAIN, Component
from mmmtl.utils.trees import at, items, join, places_of

from .sections import anywhere, components


def spell_out(config: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options with a mapping as value, in a place that holds one already, as one option for each entry.

    Outer places come first, so that what replaces a mapping takes nothing from an option inside it.
    """
    spelt: dict[str, Any] = {}
    for key, value in options.items():
        there = at(config, key)
        if isinstance(value, Mapping) and isinstance(there, Mapping) and not value.get('_delete_'):
            if there and not value:
                raise ConfigError(f"--cfg-options: '{key}={{}}' changes nothing; {{_delete_: True}} empties it.")
            spelt.update(spell_out(config, {f'{key}.{k}': v for k, v in value.items()}))
        else:
            spelt[key] = int(value) if isinstance(value, float) and value.is_integer() and type(there) is int else value
    return dict(sorted(spelt.items(), key=lambda option: option[0].count('.')))


def check_options(config: Mapping, options: Mapping[str, Any]) -> None:
    """Refuse keys that name no place in ``config``, and text in the place of a number, switch or container.

    A key may name what the config has, an argument the component there takes (of the type it has after the
    options), or a new entry of a mapping if the options give it a ``type`` (``tasks.extra.type=Depth``).

    Raises:
        ConfigError: All wrong options, each with near names.
    """
    by_path = {c.path: c for c in components(config)}
    for path, component in by_path.items():
        whole = options.get(path)
        kind = whole.get('type', component.kind) if isinstance(whole, Mapping) else component.kind
        component.kind = options.get(f'{path}.type', kind)
    problems = [p for p in (_problem(config, key, options, by_path) for key in options) if p]
    problems += [
        f"'{key}={value}' leaves nothing for '{other}' to change."
        for key, value in options.items()
        for other in options
        if other.startswith(f'{key}.') and not isinstance(value, (Mapping, list, tuple))
    ]
    if problems:
        raise ConfigError('--cfg-options:\n' + '\n'.join(f'  {p}' for p in problems))


def _problem(config: Mapping, key: str, options: Mapping[str, Any], by_path: Mapping[str, Component]) -> str | None:
    """What is wrong with one option, or None."""
    node, path, owner = config, '', None
    for part in key.split('.'):
        here = join(path, part)
        if node is None:  # a section or argument that is switched off may be given as a whole tree
            return None
        if not isinstance(node, (Mapping, list, tuple)):
            return f"'{key}': {path} is {node!r:.60}, which has no '{part}' inside."
        found = [value for name, value in items(node) if str(name) == part]
        if isinstance(node, Mapping):
            owner = by_path.get(path) or (anywhere(path, node) if path and 'type' in node else None)
            names, is_open = owner.allowed_keys() if owner else (PLAIN.get(path, set()) if path else MEANT, False)
            if not found and not owner and path and path not in PLAIN:  # a mapping of any names
                is_open = f'{here}.type' in options or isinstance(options[key], Mapping)
            if not found and not is_open and part not in names:
                rest = key[len(here) :]
                places = [join(path, place) + rest for place in places_of(node, part)]
                hint = f' It stands at {", ".join(places[:3])}.' if places else suggest(part, names | set(node))
                return f"'{key}': there is no '{part}' in {path or 'the config'}.{hint}"
        elif not found:
            return f"'{key}': {path} is a list; its places are 0 to {len(node) - 1}, not '{part}'."
        if not found:
            return None
        node, path = found[0], here
    return _wrong_kind(node, options[key], key, owner)


def _wrong_kind(old: Any, value: Any, key: str, owner: Component | None) -> str | None:
    """A value of another kind than the file's, which its place cannot take."""
    said = f"'{key}={value}': the config has {old!r:.60} there"
    if isinstance(old, Mapping) and value is not None and not isinstance(value, Mapping):
        return f'{said}; a mapping is expected, {key}={{...}} or {key}.NAME=VALUE.'
    numbers = isinstance(old, (bool, int, float)) and isinstance(value, (str, Mapping, list, tuple))
    words = isinstance(old, str) and isinstance(value, (bool, int, float, list, tuple))
    entries = isinstance(old, (list, tuple)) and old and isinstance(value, str) and not isinstance(old[0], str)
    try:
        factory: Any = owner.resolve() if owner is not None else None
        taken = str(inspect.signature(factory).parameters[key.rpartition('.')[2]].annotation)
    except (TypeError, ValueError, KeyError):
        taken = ''
    if not (numbers or words or entries) or any(
        w in taken for w in (type(value).__name__, 'Any', 'Sequence' if words else 'Any')
    ):
        return None
    if words:
        return f'{said}; text is expected: quotes keep it text, {key}="\'{value}\'".'
    return f'{said}; {"a list" if entries else "a number" if type(old) is not bool else "true or false"} is expected.'
