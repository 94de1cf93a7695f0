"""Which top-level names the statements of a Python file read and write."""

from __future__ import annotations

import ast


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
