"""Which keyword arguments a class really takes, following ``**kwargs`` up its bases."""

from __future__ import annotations

import ast
import inspect
import textwrap
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

_FORWARDS = {CheckpointHook: Runner.save_checkpoint}
"""Classes that keep their ``**kwargs`` for one function."""


def accepted_arguments(factory: Any) -> tuple[set[str], bool]:
    """Keyword arguments of a class or function.

    ``__init__(self, a, **kwargs)`` that hands its ``kwargs`` to ``super().__init__`` and does nothing else
    with them takes what its base takes; with any other use of ``kwargs`` every name may be right.

    Args:
        factory: A class or function.

    Returns:
        The names, and whether others may be accepted too.
    """
    if not inspect.isclass(factory):
        return _own_arguments(factory)
    names: set[str] = set()
    for base in factory.__mro__:
        if base is object:
            return names, False
        init = base.__dict__.get('__init__')
        if init is None:
            continue
        own, is_open = _own_arguments(init)
        names |= own
        if not is_open:
            return names, False
        if base in _FORWARDS:
            return names | _own_arguments(_FORWARDS[base])[0], False
        if not _hands_kwargs_up(init):
            return names, True
    return names, True


def _own_arguments(function: Any) -> tuple[set[str], bool]:
    """Named arguments of one function, and whether it takes ``**kwargs``; unknown signatures accept anything."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return set(), True
    names = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and n != 'self'}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _hands_kwargs_up(init: Any) -> bool:
    """True if the only use of ``**kwargs`` is ``super().__init__(..., **kwargs)``."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(init)))
    except (OSError, TypeError, SyntaxError):
        return False
    function = tree.body[0]
    if not isinstance(function, ast.FunctionDef) or function.args.kwarg is None:
        return False
    kwargs = function.args.kwarg.arg
    uses = [n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == kwargs]
    handed = [
        keyword.value
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and _is_super_init(call.func)
        for keyword in call.keywords
        if keyword.arg is None
    ]
    return len(uses) == 1 and any(use is value for use in uses for value in handed)


def _is_super_init(node: ast.AST) -> bool:
    """``super().__init__`` or ``super(A, self).__init__``."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == '__init__'
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Name)
        and node.value.func.id == 'super'
    )
