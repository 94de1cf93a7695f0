"""Reading the files of a configuration; values from outside are written right after the files' own assignments."""

from __future__ import annotations

import ast
import copy
import importlib.util
import os
import os.path as osp
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from mmengine.config import Config, ConfigDict

from mmmtl.errors import ConfigError, suggest

from .schema import LATE

Writes = Mapping[str, 'tuple[Callable[[Any], Any], ...]']
"""What becomes of the value of a top-level name after each of its assignments."""

_NOTHING: Writes = {}


def find_config(name: str, folder: str = '') -> str:
    """Path of a config file.

    Args:
        name: A path, or ``PACKAGE::FOLDER/NAME`` for a config that an installed package ships; ``.py`` may be
            left out there, and the folder if only one of them has that name.
        folder: Relative paths begin here.

    Raises:
        ConfigError: No such file; with near names.
    """
    package, sign, inner = name.partition('::')
    if sign:
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        if spec is None or spec.origin is None:
            raise ConfigError(f"config '{name}': there is no package '{package}'")
        home = Path(spec.origin).parent
        root = next((p for p in (home / '.mim' / 'configs', home.parent / 'configs') if p.is_dir()), home)
        known = {p.relative_to(root).with_suffix('').as_posix(): str(p) for p in sorted(root.rglob('*.py'))}
        wanted = inner.removesuffix('.py').removeprefix('configs/')
        found = [n for n in known if n == wanted] or [n for n in known if n.endswith(f'/{wanted}')]
        if len(found) == 1:
            return known[found[0]]
        near = f' Name the folder: {", ".join(found)}.' if found else suggest(wanted, known)
        raise ConfigError(f"config '{name}' does not name one of {len(known)} configs of {package}.{near}")
    path = osp.normpath(osp.join(folder, osp.expanduser(name)))
    if osp.isdir(path):
        inside = sorted(f for f in os.listdir(path) if f.endswith('.py'))
        raise ConfigError(f"config '{path}' is a folder; name a file of it: {', '.join(inside[:6]) or 'it holds none'}")
    if not osp.isfile(path):
        parent = Path(path).parent
        near = suggest(Path(path).name, (p.name for p in parent.glob('*.py')))
        raise ConfigError(
            f"config '{path}' does not exist." + (near if parent.is_dir() else f' There is no folder {parent} either.')
        )
    if not path.endswith('.py'):
        raise ConfigError(f"config '{path}' must be a .py file")
    return path


class ConfigFile:
    """A file and its bases.

    Attributes:
        path: The file.
        bases: Its ``_base_`` files, in order.
        tree: Its statements, ``_base_`` left out.
        names: Top-level names it assigns, in order, with the line of the first assignment.
        reads: Names it reads, its own and its bases'.
    """

    def __init__(self, path: str, children: tuple[str, ...] = ()) -> None:
        self.path = path
        if path in children:
            raise ConfigError(f"config '{path}' is a base of itself")
        try:
            self.tree = ast.parse(_fill_in(Path(path).read_text(encoding='utf-8-sig'), path), filename=path)
            found = [s for s in self.tree.body if isinstance(s, ast.Assign) and ast.unparse(s.targets[0]) == '_base_']
            listed = ast.literal_eval(found[-1].value) if found else []
        except (SyntaxError, ValueError) as error:
            line = getattr(error, 'lineno', None) or (found[-1].lineno if 'found' in vars() and found else '?')
            raise ConfigError(f"config '{path}' can't be read: line {line}: {error}") from error
        paths = [find_config(b, osp.dirname(path)) for b in ([listed] if isinstance(listed, str) else listed)]
        self.bases = [ConfigFile(base, (*children, path)) for base in paths]
        self.tree.body = [s for s in self.tree.body if s not in found]
        self.names: dict[str, int] = {}
        for statement in self.tree.body:
            for part in ast.walk(statement) if hasattr(statement, 'body') else [statement]:
                for name in written_names(part) if isinstance(part, ast.stmt) else ():
                    self.names.setdefault(name, part.lineno)
        self.reads = {name for node in ast.walk(self.tree) for name in read_names(node)}
        body = ast.Module(_watched(copy.deepcopy(self.tree.body)), [])
        self._code = compile(ast.fix_missing_locations(body), path, 'exec')

    def chain(self) -> Iterator[ConfigFile]:
        """All files, bases first."""
        for base in self.bases:
            yield from base.chain()
        yield self

    def values(self, writes: Writes = _NOTHING) -> dict[str, Any]:
        """What the file says, with its bases.

        A name that the file sets over a base's is written into the base before the base uses it. Sections, which a
        runner builds objects from, are merged afterwards.

        Args:
            writes: What becomes of top-level names.
        """
        bases = self._base_values(writes)
        for name in [n for n in self.names if n in bases and n not in LATE]:
            own, _ = self._run(bases, writes)
            if name in own:
                writes = {**writes, name: (lambda old, new=own[name]: merged(old, new), *writes.get(name, ()))}
                bases = self._base_values(writes)
        own, bases = self._run(bases, writes)
        try:
            return Config._merge_a_into_b(own, bases)
        except TypeError as error:
            raise ConfigError(f"config '{self.path}': {error}") from error

    def _base_values(self, writes: Writes) -> ConfigDict:
        """The values of all bases together."""
        together: dict[str, Any] = {}
        for base in self.bases:
            values = base.values(writes)
            if repeated := sorted(values.keys() & together.keys()):
                raise ConfigError(
                    f"config '{self.path}' can't be read: Duplicate key is not allowed among bases: "
                    f'{", ".join(repeated)} is set in {base.path} and in another one'
                )
            together.update(values)
        return ConfigDict(together)

    def _run(self, bases: ConfigDict, writes: Writes) -> tuple[dict[str, Any], ConfigDict]:
        """Run the statements; return what they set, and the bases as they leave them."""

        def write(name: str, value: Any) -> Any:
            for change in writes.get(name, ()):
                value = change(value)
            return value

        scope: dict[str, Any] = {'_base_': copy.deepcopy(bases), '__write__': write}
        try:
            exec(self._code, scope)  # a config is a program; it is run as such
        except ConfigError:
            raise
        except Exception as error:
            lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == self.path]
            line = lines[-1] if lines else 0
            raise ConfigError(
                f"config '{self.path}' can't be read: line {line}: {self._explain(error, line, bases)}"
            ) from error
        kept = {k: v for k, v in scope.items() if k != '_base_' and not k.startswith('__')}
        return {k: v for k, v in kept.items() if not isinstance(v, (FunctionType, ModuleType))}, scope['_base_']

    def _explain(self, error: Exception, line: int | None, bases: Mapping) -> str:
        """What went wrong in a line, with the near names where a choice is not offered."""
        if isinstance(error, KeyError):
            inner = [
                s
                for s in ast.walk(self.tree)
                if isinstance(s, ast.expr) and s.lineno <= (line or 0) <= (s.end_lineno or 0)
            ]
            offered = {k.arg or '' for s in inner for k in getattr(s, 'keywords', [])}
            return f'there is no {error.args[0]!r}.{suggest(str(error.args[0]), offered | set(bases))}'
        if isinstance(error, AttributeError) and "'" in str(error):
            return f'{error}.{suggest(str(error).split(chr(39))[-2], bases)}'
        return f'{type(error).__name__}: {error}'


def merged(old: Any, new: Any) -> Any:
    """``new`` in the place of ``old``; mappings are merged, as between a base and its child."""
    new = copy.deepcopy(new)
    if not isinstance(new, Mapping):
        return new
    if not isinstance(old, Mapping) or new.get('_delete_'):
        return {k: v for k, v in new.items() if k != '_delete_'}
    return Config._merge_a_into_b(new, old)


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


def _watched(body: list[ast.stmt]) -> list[ast.stmt]:
    """Statements with ``name = __write__('name', name)`` after each that sets a name."""
    result: list[ast.stmt] = []
    for statement in body:
        result.append(statement)
        if isinstance(statement, (ast.FunctionDef, ast.ClassDef)):
            continue
        for part in [statement, *getattr(statement, 'handlers', [])]:
            for field in ('body', 'orelse', 'finalbody'):
                if getattr(part, field, None) and hasattr(part, 'body'):
                    setattr(part, field, _watched(getattr(part, field)))
        for name in written_names(statement):
            result += ast.copy_location(ast.parse(f'{name} = __write__({name!r}, {name})'), statement).body
    return result


def _fill_in(text: str, path: str) -> str:
    """``{{ fileDirname }}`` and its like, ``{{ $NAME:default }}`` and ``{{ _base_.name }}``, as in mmengine."""
    stem, suffix = osp.splitext(osp.basename(path))
    known = dict(
        fileDirname=osp.dirname(path), fileBasename=stem + suffix, fileBasenameNoExtension=stem, fileExtname=suffix
    )

    def value(match: re.Match) -> str:
        name, _, default = match[1].partition(':')
        if name.startswith('$'):
            return os.environ.get(name[1:].strip(), default.strip())
        return known.get(name.strip(), match[1].strip() if name.startswith('_base_.') else match[0])

    return re.sub(r'\{\{\s*([$\w][^{}]*?)\s*\}\}', value, text)
