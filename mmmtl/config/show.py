"""A config with the source of each of its values."""

from __future__ import annotations

import ast
import os.path as osp
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from .files import ConfigFile, find_config, read_names, written_names
from .load import load_config

Place = 'tuple[str, ...]'


class Source(NamedTuple):
    """Where a file writes a value: the value's path, ``file:line``, and the shared names it is computed from."""

    place: tuple[str, ...]
    where: str
    names: tuple[str, ...]


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
    plain, cfg = load_config(path)._cfg_dict, load_config(path, cfg_options)._cfg_dict
    chain = list(ConfigFile(find_config(str(path))).chain())
    shared = {name for file in chain for name in file.names}
    written = [s for file in chain for statement in file.tree.body for s in _sources(statement, file.path, shared)]
    before, rows = dict(_leaves(plain, (), written, plain)), []
    for place, value in _leaves(cfg, (), written, cfg):
        key = '.'.join(place)
        source = next((s for s in reversed(written) if s.place == place[: len(s.place)]), Source((), '', ()))
        text = source.where + (f' ← {", ".join(source.names)}' if source.names else '')
        if any(f'{key}.'.startswith(f'{option}.') for option in cfg_options or {}):
            text = '--cfg-options'
        elif place not in before or before[place] != value:
            text = f'--cfg-options, by way of {text}'
        rows.append((key, f'= {value[2:]}' if str(value).startswith('\0=') else repr(value), text))
    return rows


def _sources(statement: ast.stmt, file: str, shared: set[str]) -> Iterator[Source]:
    """The values a statement writes, those within ``dict(...)``, ``{...}``, ``[...]`` and ``(...)`` one by one."""

    def leaves(node: ast.expr, place: tuple[str, ...]) -> Iterator[Source]:
        yield from (s for key, value in _items(node) for s in leaves(value, (*place, key)))
        if not _items(node):
            names = {name for part in ast.walk(node) for name in read_names(part)} & shared
            yield Source(place, f'{osp.relpath(file)}:{node.lineno}', tuple(sorted(names)))

    for target in statement.targets if isinstance(statement, ast.Assign) else []:
        if isinstance(target, ast.Name):
            yield from leaves(statement.value, (target.id,))  # type: ignore[attr-defined]
            continue
        values = getattr(statement.value, 'elts', [])  # type: ignore[attr-defined]
        if isinstance(target, ast.Tuple) and len(values) == len(target.elts):
            for name, value in zip(target.elts, values):
                yield from leaves(value, (ast.unparse(name),))
            return
    parts = ast.walk(statement) if hasattr(statement, 'body') else [statement]
    for part in (p for p in parts if isinstance(p, ast.stmt)):
        names = {name for node in ast.walk(part) for name in read_names(node)} & shared
        for name in written_names(part):
            yield Source((name,), f'{osp.relpath(file)}:{part.lineno}', tuple(sorted(names - {name})))


def _items(node: ast.expr) -> list[tuple[str, ast.expr]]:
    """Keys and values of a container written out in full, else none; one of constants counts as one value."""
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and not node.args:
        return [(k.arg or '', k.value) for k in node.keywords] if all(k.arg for k in node.keywords) else []
    if isinstance(node, ast.Dict) and all(isinstance(k, ast.Constant) for k in node.keys):
        return [(str(k.value), v) for k, v in zip(node.keys, node.values)]  # type: ignore[union-attr]
    if isinstance(node, (ast.List, ast.Tuple)) and any(_items(e) for e in node.elts):
        return (
            [] if any(isinstance(e, ast.Starred) for e in node.elts) else [(str(i), e) for i, e in enumerate(node.elts)]
        )
    return []


def _leaves(
    node: Any, place: tuple[str, ...], written: list[Source], cfg: Mapping
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Values with their paths; a container that repeats a shared one counts as one value, marked with its name."""
    names = next((s.names for s in reversed(written) if s.place == place), ())
    if place[1:] and len(names) == 1 and isinstance(node, (Mapping, list)) and cfg.get(names[0]) == node:
        yield place, f'\0={names[0]}'
    elif isinstance(node, (list, tuple)) and not any(isinstance(v, Mapping) for v in node) or not node:
        yield place, node
    elif isinstance(node, (Mapping, list, tuple)):
        for key, value in node.items() if isinstance(node, Mapping) else enumerate(node):
            yield from _leaves(value, (*place, str(key)), written, cfg)
    else:
        yield place, node
