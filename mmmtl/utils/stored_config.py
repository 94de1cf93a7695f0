"""The configuration that a checkpoint carries: stored as JSON, and read as data whatever it is."""

from __future__ import annotations

import ast
import json
from typing import Any

MAX_CHARACTERS = 4_000_000
"""A longer text is not taken for a configuration."""


def config_to_json(cfg: Any) -> str:
    """A config as JSON text; what JSON cannot hold (classes, arrays) is replaced by its text."""
    return json.dumps(cfg.to_dict(), default=str)


def read_stored_config(text: Any) -> dict[str, Any]:
    """Read the configuration in a checkpoint's metadata without running any of it.

    Checkpoints hold it as JSON. Older ones hold a Python file, of which assignments of literals (numbers, texts, lists,
    ``dict(a=1)``) are understood.

    Returns:
        The configuration; empty where the text is anything else.
    """
    if not isinstance(text, str) or len(text) > MAX_CHARACTERS:
        return {}
    try:
        found = json.loads(text) if text.lstrip().startswith('{') else _assignments(ast.parse(text))
    except (ValueError, SyntaxError, AttributeError, TypeError, RecursionError, MemoryError):
        return {}
    return found if isinstance(found, dict) else {}


def _assignments(tree: ast.Module) -> dict[str, Any]:
    found = {}
    for statement in tree.body:
        if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):  # a docstring
            continue
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            raise ValueError('not an assignment')
        found[statement.targets[0].id] = _literal(statement.value)
    return found


def _literal(node: ast.expr) -> Any:
    """Value of a literal in which ``dict(key=...)`` may stand for braces."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and len(node.args) < 2:
        given = {key: value for argument in node.args for key, value in _literal(argument).items()}
        return {**given, **{keyword.arg: _literal(keyword.value) for keyword in node.keywords if keyword.arg}}
    if isinstance(node, ast.Dict):
        return {_literal(k): _literal(v) for k, v in zip(node.keys, node.values) if k is not None}
    if isinstance(node, ast.List):
        return [_literal(item) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_literal(item) for item in node.elts)
    return ast.literal_eval(node)
