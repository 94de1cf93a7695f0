"""Which names the statements of a Python file read and write, and where a value is written."""

from __future__ import annotations

import ast
import os.path as osp
from collections.abc import Iterator
from typing import Any, NamedTuple


def written_names(statement: ast.stmt) -> list[str]:
    """Top-level names that a simple statement assigns or changes in place."""
    found: list[str] = []

    def visit(node: ast.AST) -> None:
        if isinstance(node, (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp, ast.Lambda)):
            return
        if isinstance(node, (ast.Name, ast.Attribute, ast.Subscript)) and isinstance(node.ctx, ast.Store):
            found.append(_root(node))
        for child in ast.iter_child_nodes(node):
            visit(child)

    if not hasattr(statement, 'body'):
        visit(statement)
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        found.append(_root(statement.value.func) if isinstance(statement.value.func, ast.Attribute) else '')
    return [name for name in dict.fromkeys(found) if name not in ('', '_base_')]


def read_names(node: ast.AST) -> list[str]:
    """Top-level names that a node reads: ``x``, ``_base_.x``, ``_base_['x']``, ``_base_.get('x')``."""
    if isinstance(node, ast.Name):
        return [node.id] if isinstance(node.ctx, ast.Load) else []
    if isinstance(node, ast.Attribute) and ast.unparse(node.value) == '_base_':
        return [node.attr]
    inside = [node.slice] if isinstance(node, ast.Subscript) else node.args if isinstance(node, ast.Call) else []
    return [n.value for n in inside if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def _root(node: ast.AST) -> str:
    """``x`` of ``x``, ``x.y`` and ``x['y'].z``."""
    while isinstance(node, (ast.Attribute, ast.Subscript)):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ''


def watched(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements with ``name = __write__('name', name)`` after each that sets a name."""
    result: list[ast.stmt] = []
    for statement in body:
        result.append(statement)
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            continue
        for part in [statement, *getattr(statement, 'handlers', [])]:
            for field in ('body', 'orelse', 'finalbody'):
                if getattr(part, field, None) and hasattr(part, 'body'):
                    setattr(part, field, watched(getattr(part, field)))
        for name in written_names(statement):
            result += ast.parse(f'{name} = __write__({name!r}, {name})').body
    return result


class Source(NamedTuple):
    """Where a file writes a value: the value's path, ``file:line``, and the shared names it is computed from."""

    place: tuple[str, ...]
    where: str
    names: list[str]


def sources(statement: ast.stmt, file: str, shared: set[str]) -> Iterator[Source]:
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
