"""Where a value of a config is written: read off the files' syntax trees, without running them again."""

from __future__ import annotations

import ast
import copy
import dataclasses
import os.path as osp
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mmmtl.errors import ConfigError, suggest

_BUILTINS = {
    'dict': dict,
    'list': list,
    'tuple': tuple,
    'range': range,
    'int': int,
    'float': float,
    'str': str,
    'len': len,
    'min': min,
    'max': max,
    'sum': sum,
    'round': round,
    'sorted': sorted,
    'zip': zip,
    'bool': bool,
}


@dataclass
class Assignment:
    """One value as a file writes it.

    Attributes:
        path: Where it ends up: ``('train_cfg', 'max_iters')``.
        code: The expression.
        names: Top-level names of the config that the expression reads.
        file: The config file.
        line: Line number in it, from 1.
    """

    path: tuple[str, ...]
    code: str
    names: frozenset[str]
    file: str
    line: int


def assignments(file: str) -> list[Assignment]:
    """All values a config file and its bases write, bases first, each file from top to bottom."""
    with open(file, encoding='utf-8') as text:
        tree = ast.parse(text.read(), filename=file)
    found: list[Assignment] = []
    own: list[Assignment] = []
    for statement in tree.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else []
        for name in (target.id for target in targets if isinstance(target, ast.Name)):
            if name == '_base_':
                for base in _base_files(statement.value, osp.dirname(file)):  # type: ignore[attr-defined]
                    found += assignments(base)
            else:
                own += _leaves(statement.value, (name,), file, statement.lineno)  # type: ignore[attr-defined]
    return found + own


def _base_files(node: ast.expr, folder: str) -> list[str]:
    """Files of a ``_base_`` statement; those of other packages (``pkg::file``) are not followed."""
    value = ast.literal_eval(node)
    files = [value] if isinstance(value, str) else list(value)
    return [osp.normpath(osp.join(folder, f)) for f in files if '::' not in f]


def _leaves(node: ast.expr, path: tuple[str, ...], file: str, line: int) -> Iterator[Assignment]:
    """Split dict(...), {...}, [...] and (...) into their values; anything else is one value."""
    items = _items(node)
    if items is None or not items:
        yield Assignment(path, ast.unparse(node), _names(node), file, line)
        return
    for key, value in items:
        yield from _leaves(value, (*path, key), file, value.lineno)


def _items(node: ast.expr) -> list[tuple[str, ast.expr]] | None:
    """Keys and values of a container written out in full, else None. Containers of constants count as one value."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == 'dict' and not node.args:
        return None if any(k.arg is None for k in node.keywords) else [(str(k.arg), k.value) for k in node.keywords]
    if isinstance(node, ast.Dict):
        if all(isinstance(k, ast.Constant) for k in node.keys):
            return [(str(k.value), v) for k, v in zip(node.keys, node.values)]  # type: ignore[union-attr]
        return None
    if isinstance(node, (ast.List, ast.Tuple)) and not any(isinstance(e, ast.Starred) for e in node.elts):
        if any(_items(e) for e in node.elts):
            return [(str(i), e) for i, e in enumerate(node.elts)]
    return None


def _names(node: ast.expr) -> frozenset[str]:
    """Top-level names an expression reads, directly or as ``_base_.name``."""
    names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    names |= {
        n.attr
        for n in ast.walk(node)
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == '_base_'
    }
    return frozenset(names - set(_BUILTINS) - {'_base_'})


def get_path(config: Any, path: Sequence[str]) -> Any:
    """The value at a path, list places as numbers; KeyError where there is none."""
    node = config
    for part in path:
        try:
            node = node[int(part)] if isinstance(node, (list, tuple)) else node[part]
        except (IndexError, ValueError, TypeError) as error:
            raise KeyError('.'.join(path)) from error
    return node


def source_of(path: Sequence[str], written: Sequence[Assignment]) -> Assignment | None:
    """The assignment a value comes from: the last one of the value itself, or of something it is a part of."""
    path = tuple(path)
    hits = [a for a in written if a.path == path[: len(a.path)]]
    return hits[-1] if hits else None


class _Base:
    """Stands for ``_base_`` in an expression."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.__dict__.update(values)


def follow_changes(
    cfg: Any, old: Mapping[str, Any], written: Sequence[Assignment], changed: set[str], frozen: set[str]
) -> dict[str, list[str]]:
    """Carry changed top-level values to every value that a file computes from them.

    A value that no longer is what its expression gave before (overridden by another file or an option)
    stays; of a container the parts that still are, follow.

    Args:
        cfg: The config after the options; edited in place.
        old: Its top-level values before.
        written: What :func:`assignments` found.
        changed: Top-level names whose value differs from ``old``.
        frozen: Names that are never followed (sections: ``test_dataloader = val_dataloader`` are two things).

    Returns:
        ``{changed name: paths that followed}``.
    """
    changed = set(changed) - frozen
    written = spell_out(written, frozen)
    followed: dict[str, list[str]] = {name: [] for name in changed}
    for item in written:
        if not item.names & changed:
            continue
        before = _evaluate(item, old)
        after = _evaluate(item, {k: cfg[k] for k in cfg})
        try:
            parent = get_path(cfg, item.path[:-1])
            current = get_path(cfg, item.path)
        except KeyError:
            continue
        merged = _merge(current, before, after)
        if merged is current or merged == current:
            continue
        if isinstance(parent, tuple):  # tuples of dicts are not written in configs; nothing to assign into
            continue
        parent[int(item.path[-1]) if isinstance(parent, list) else item.path[-1]] = merged
        for name in item.names & changed:
            followed.setdefault(name, []).append('.'.join(item.path))
        if item.path[0] not in frozen:
            changed.add(item.path[0])
    return followed


def spell_out(written: Sequence[Assignment], sections: set[str]) -> list[Assignment]:
    """``test_dataloader = val_dataloader`` as the assignments that made up ``val_dataloader``.

    What these are computed from then reaches both sections, while a change of one is not one of the other.
    """
    spelt: list[Assignment] = []
    for item in written:
        original = item.code.removeprefix('_base_.')
        if original in sections and original in item.names:
            parts = [a for a in spelt if a.path[0] == original]
            spelt += [dataclasses.replace(a, path=(*item.path, *a.path[1:])) for a in parts]
        else:
            spelt.append(item)
    return spelt


def _evaluate(item: Assignment, values: Mapping[str, Any]) -> Any:
    """The value of an expression of a config file for these top-level values."""
    scope = {**_BUILTINS, **copy.deepcopy(dict(values)), '_base_': _Base(values)}
    try:
        return eval(compile(item.code, item.file, 'eval'), {'__builtins__': {}}, scope)  # the config's own code
    except (NameError, AttributeError):  # a name that lived in the file alone (an import, a loop variable)
        return None
    except KeyError as error:  # a choice that is not offered
        offered = re.findall(r"(\w+)=|'(\w+)':", item.code)
        near = suggest(str(error.args[0]), [a or b for a, b in offered])
        raise ConfigError(f'--cfg-options: {item.code} in {item.file} has no entry {error.args[0]!r}.{near}') from error


def _merge(current: Any, before: Any, after: Any) -> Any:
    """``after`` wherever ``current`` still is ``before``."""
    if type(current) is type(before) and current == before or _plain(current) == _plain(before):
        return copy.deepcopy(after)
    if isinstance(current, Mapping) and isinstance(before, Mapping) and isinstance(after, Mapping):
        merged: dict = {}
        for key, value in current.items():
            if key in before and key not in after and _plain(value) == _plain(before[key]):
                continue
            merged[key] = _merge(value, before[key], after[key]) if key in before and key in after else value
        for key in after:
            if key not in before and key not in merged:
                merged[key] = copy.deepcopy(after[key])
        return merged
    if isinstance(current, list) and isinstance(before, list) and isinstance(after, list):
        if len(current) == len(before) == len(after):
            return [_merge(*three) for three in zip(current, before, after)]
    return current


def _plain(value: Any) -> Any:
    """Config dicts as dicts, so that they compare by value."""
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(v) for v in value)
    return value
