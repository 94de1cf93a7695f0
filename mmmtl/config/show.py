"""A config with the source of each of its values."""

from __future__ import annotations

import os.path as osp
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .load import load_config
from .sources import assignments, get_path, source_of


def config_with_sources(path: str | Path, cfg_options: Mapping[str, Any] | None = None) -> list[tuple[str, str, str]]:
    """Every value of a config and where it comes from.

    Args:
        path: Config file.
        cfg_options: As ``--cfg-options``.

    Returns:
        ``[(path, value, source)]`` in the order of the config. A value is its ``repr``, or ``= name`` where
        a whole container repeats a top-level one. A source is ``file:line``, with the names a value was
        computed from, or ``--cfg-options``.
    """
    options = dict(cfg_options or {})
    plain, cfg = load_config(path), load_config(path, options)
    written = assignments(str(path))
    copies = {a.path: next(iter(a.names)) for a in written if a.code.removeprefix('_base_.') in a.names}
    rows = []
    for place, value, name in _leaves(cfg._cfg_dict, (), copies, cfg):
        text = repr(value) if name is None else f'= {name}'
        rows.append(('.'.join(place), text, _source(place, value, plain, options, written)))
    return rows


def _leaves(
    node: Any, place: tuple[str, ...], copies: Mapping[tuple[str, ...], str], cfg: Any
) -> Iterator[tuple[tuple[str, ...], Any, str | None]]:
    """Values with their paths; a container that repeats a top-level one counts as one value, with that one's name."""
    name = copies.get(place)
    if isinstance(node, (Mapping, list)) and name is not None and name in cfg and cfg[name] == node:
        yield place, node, name
    elif isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, (*place, str(key)), copies, cfg)
    elif isinstance(node, (list, tuple)) and any(isinstance(v, Mapping) for v in node):
        for index, value in enumerate(node):
            yield from _leaves(value, (*place, str(index)), copies, cfg)
    else:
        yield place, node, None


def _source(place: tuple[str, ...], value: Any, plain: Any, options: Mapping[str, Any], written: list) -> str:
    """Where the value at ``place`` was written."""
    key = '.'.join(place)
    if any(key == option or key.startswith(option + '.') for option in options):
        return '--cfg-options'
    found = source_of(place, written)
    text = '(default)' if found is None else f'{osp.relpath(found.file)}:{found.line}'
    if found is not None and found.names:
        text += f' ← {", ".join(sorted(found.names))}'
    try:
        before = get_path(plain._cfg_dict, place)
    except KeyError:
        return f'--cfg-options, by way of {text}'
    return text if before == value else f'--cfg-options, by way of {text}'
