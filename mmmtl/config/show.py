"""A config with the source of each of its values."""

from __future__ import annotations

import ast
import os.path as osp
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from mmmtl.utils.shipped import find_config
from mmmtl.utils.syntax import read_names, written_names
from mmmtl.utils.trees import items

from .files import ConfigFile
from .load import load_config


class Source(NamedTuple):
    """Where a file writes a value: the value's path, ``file:line``, and the shared names it is computed from."""

    place: tuple[str, ...]
    where: str
    names: list[str]


def config_with_sources(path: str | Path, cfg_options: Mapping[str, Any] | None = None) -> list[tuple[str, str, str]]:
    """Every value of a config and where it comes from.

    Returns:
        ``[(path, value, source)]`` in the order of the config. A value is its ``repr``, or ``= name`` where
        a whole container repeats a top-level one. A source is ``file:line``, with the names a value was
        computed from, or ``--cfg-options``.
    """
    before, cfg = load_config(path)._cfg_dict, load_config(path, cfg_options)._cfg_dict
    chain = list(ConfigFile(find_config(str(path))).chain())
    shared = {name for file in chain for name in file.names}
    written = [s for file in chain for statement in file.tree.body for s in _sources(statement, file.path, shared)]
    old, rows = dict(_leaves(before, (), written, before)), []
    for place, text in _leaves(cfg, (), written, cfg):
        key = '.'.join(place)
        source = next((s for s in reversed(written) if s.place == place[: len(s.place)]), Source((), 'the command', []))
        where = source.where + (f' ← {", ".join(source.names)}' if source.names else '')
        if any(f'{key}.'.startswith(f'{option}.') for option in cfg_options or {}):
            where = '--cfg-options'
        elif old.get(place) != text:
            where = f'--cfg-options, by way of {where}'
        rows.append((key, text, where))
    return rows


def _sources(statement: ast.stmt, file: str, shared: set[str]) -> Iterator[Source]:
    """The values a statement writes, those within ``dict(...)``, ``{...}``, ``[...]`` and ``(...)`` one by one."""

    def source(node: ast.AST, place: tuple[str, ...]) -> Source:
        names = {name for part in ast.walk(node) for name in read_names(part)} & shared
        return Source(place, f'{osp.relpath(file)}:{node.lineno}', sorted(names - {place[0]}))  # type: ignore[attr-defined]

    def leaves(node: ast.expr, place: tuple[str, ...]) -> Iterator[Source]:
        entries = _entries(node)
        yield from (s for key, value in entries for s in leaves(value, (*place, key)))
        if not entries:
            yield source(node, place)

    if isinstance(statement, ast.Assign):
        pairs: list = []
        for target in statement.targets:
            parts, values = getattr(target, 'elts', [target]), getattr(statement.value, 'elts', [statement.value])
            unpacked = isinstance(target, ast.Tuple) and len(parts) == len(values)
            pairs += zip(parts, values) if unpacked else [(part, statement.value) for part in parts]
        for part, value in pairs:
            yield from leaves(value, (part.id,)) if isinstance(part, ast.Name) else ()
        if all(isinstance(part, ast.Name) for part, _ in pairs):
            return
    for inner in [s for s in ast.walk(statement) if isinstance(s, ast.stmt)]:
        yield from (source(inner, (name,)) for name in written_names(inner))


def _entries(node: ast.expr) -> list[tuple[str, ast.expr]]:
    """Keys and values of a container written out in full, else none; one of constants counts as one value."""
    found: list[tuple[Any, ast.expr]] = []
    if isinstance(node, ast.Call) and ast.unparse(node.func) == 'dict' and not node.args:
        found = [(k.arg, k.value) for k in node.keywords]
    elif isinstance(node, ast.Dict):
        found = [(getattr(k, 'value', None), v) for k, v in zip(node.keys, node.values)]
    elif isinstance(node, (ast.List, ast.Tuple)) and any(_entries(e) for e in node.elts):
        found = [(None if isinstance(e, ast.Starred) else str(i), e) for i, e in enumerate(node.elts)]
    return found if all(isinstance(key, str) for key, _ in found) else []


def _leaves(node: Any, place: tuple[str, ...], written: list[Source], cfg: Mapping) -> Iterator[tuple[Any, str]]:
    """Values as text with their paths; a container that repeats a shared one counts as one value, ``= name``."""
    names = next((s.names for s in reversed(written) if s.place == place), [])
    entries = items(node)
    if place[1:] and len(names) == 1 and isinstance(node, (Mapping, list)) and cfg.get(names[0]) == node:
        yield place, f'= {names[0]}'
    elif entries and (isinstance(node, Mapping) or any(isinstance(value, Mapping) for _, value in entries)):
        for key, value in entries:
            yield from _leaves(value, (*place, str(key)), written, cfg)
    else:
        yield place, repr(node)
