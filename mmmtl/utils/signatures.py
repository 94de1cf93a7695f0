"""Which keyword arguments a class really takes, and which of them it hands to a registry to build."""

from __future__ import annotations

import ast
import functools
import inspect
import re
import textwrap
from collections.abc import Iterable
from typing import Any

from mmengine.hooks import CheckpointHook
from mmengine.registry import Registry
from mmengine.runner import Runner

from mmmtl.errors import suggest


@functools.cache
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
        return _named_arguments(factory)
    names: set[str] = set()
    for base in factory.__mro__:
        init = vars(base).get('__init__')
        if init is None or base is object:
            continue
        own, is_open = _named_arguments(init)
        names |= own
        if is_open and base is CheckpointHook:  # it keeps the rest for one function
            return names | _named_arguments(Runner.save_checkpoint)[0], False
        if not is_open or not _hands_arguments_up(init):
            return names, is_open
    return names, False


def unknown_arguments(factory: Any, names: Iterable[str]) -> dict[str, str]:
    """Arguments that ``factory`` does not take: ``{name: text that names the nearest ones}``."""
    accepted, is_open = accepted_arguments(factory)
    return {} if is_open else {n: suggest(n, accepted) for n in names if n not in accepted}


@functools.cache
def expected_kind(factory: Any, name: str) -> str | None:
    """What an argument of a class or function wants where text cannot be meant: ``true or false``, ``a number``, or None.

    Its annotation tells it; of an argument without one, a default of true or false.
    """
    inits = [vars(base).get('__init__') for base in factory.__mro__] if inspect.isclass(factory) else [factory]
    for init in (i for i in inits if i is not None):
        try:
            parameter = inspect.signature(init).parameters.get(name)
        except (TypeError, ValueError):
            return None
        if parameter is None:
            continue
        kind = parameter.annotation
        if kind is parameter.empty:
            return 'true or false' if isinstance(parameter.default, bool) else None
        text = kind.__name__ if isinstance(kind, type) else str(kind).replace('typing.', '')
        words = set(re.findall(r'\w+', text)) - {'None', 'NoneType', 'Optional', 'Union'}
        if words and words <= {'bool', 'int', 'float', 'Tensor'}:
            return 'true or false' if words == {'bool'} else 'a number'
        return None
    return None


def _named_arguments(function: Any) -> tuple[set[str], bool]:
    """Named arguments of one function, and whether it takes ``**kwargs``; unknown signatures accept anything."""
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return set(), True
    names = {n for n, p in parameters.items() if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and n != 'self'}
    return names, any(p.kind is p.VAR_KEYWORD for p in parameters.values())


def _syntax(thing: Any) -> ast.AST | None:
    """The syntax tree of a class or function; None where its source is not at hand."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return None


def _hands_arguments_up(init: Any) -> bool:
    """True if the only use of ``**kwargs`` is ``super().__init__(..., **kwargs)``."""
    function = _syntax(init)
    if not isinstance(function, ast.FunctionDef) or function.args.kwarg is None:
        return False
    name = function.args.kwarg.arg
    uses = [n for n in ast.walk(function) if isinstance(n, ast.Name) and n.id == name]
    handed = [k.value for call in _super_inits(function) for k in call.keywords if k.arg is None]
    return len(uses) == 1 and any(use is value for use in uses for value in handed)


def _super_inits(tree: ast.AST) -> list[ast.Call]:
    """Calls of ``super().__init__`` or ``super(A, self).__init__``."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]
    return [c for c in calls if ast.unparse(c.func).startswith('super(') and c.func.attr == '__init__']  # type: ignore[attr-defined]


@functools.cache
def owner_of_argument(factory: Any, name: str) -> Any:
    """The class, ``factory`` or one of its bases, that takes an argument itself rather than handing it up."""
    for base in factory.__mro__ if inspect.isclass(factory) else ():
        init = vars(base).get('__init__')
        if init is None or name not in _named_arguments(init)[0]:
            continue
        handed = [k for call in _super_inits(_syntax(init) or ast.Module([], [])) for k in call.keywords]
        if not any(k.arg == name and isinstance(k.value, ast.Name) and k.value.id == name for k in handed):
            return base
    return factory


@functools.cache
def built_arguments(factory: Any) -> dict[str, Registry]:
    """Arguments that the source of a class or function hands to a registry's ``build``, with that registry.

    ``MODELS.build(head)``, ``MODELS.build(dict(head, channels=3))``, ``[MODELS.build(h) for h in heads]`` and
    ``MODELS.build(self.head)`` are seen; a mapping with a ``type`` that is not built is a plain argument.
    """
    tree = _syntax(factory)
    if tree is None:
        return {}
    comes_from: dict[str, set[str]] = {}  # local name -> names it was made of
    built: dict[str, Registry] = {}
    for node in ast.walk(tree):
        if isinstance(node, (ast.Assign, ast.NamedExpr, ast.For, ast.comprehension)):
            source = node.iter if isinstance(node, (ast.For, ast.comprehension)) else node.value
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                for name in (n for n in ast.walk(target) if isinstance(n, (ast.Name, ast.Attribute))):
                    comes_from.setdefault(_last(name), set()).update(_config_names(source))
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == 'build':
            module = inspect.getmodule(factory)
            registry = getattr(module, _last(node.func.value), None)
            if isinstance(registry, Registry) and node.args:
                built.update(dict.fromkeys(_config_names(node.args[0]), registry))
    for _ in comes_from:  # follow names to the arguments they were made of
        built.update({origin: built[name] for name in list(built) for origin in comes_from.get(name, ())})
    return built


def _last(node: ast.AST) -> str:
    """``x`` of ``x`` and of ``self.x``."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ''


def _config_names(node: ast.AST) -> set[str]:
    """Names of what an expression takes as a config, not of what it adds to it: ``x`` of ``dict(x, size=y)``."""
    parts: list[ast.AST] = []
    if isinstance(node, (ast.Name, ast.Attribute)):
        return {_last(node)}
    if isinstance(node, ast.Call):
        method = [node.func.value] if isinstance(node.func, ast.Attribute) else []  # heads.items(), head.copy()
        parts = [*method, *node.args, *(k.value for k in node.keywords if k.arg is None)]
    elif isinstance(node, ast.Dict):
        parts = [value for key, value in zip(node.keys, node.values) if key is None]
    elif isinstance(node, ast.IfExp):
        parts = [node.body, node.orelse]
    elif isinstance(node, ast.BoolOp):
        parts = list(node.values)
    elif isinstance(node, (ast.Subscript, ast.NamedExpr, ast.Starred)):
        parts = [node.value]
    return {name for part in parts for name in _config_names(part)}
