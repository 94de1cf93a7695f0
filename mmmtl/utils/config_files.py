"""Running the files of a configuration; values from outside are written right after the files' own assignments."""

from __future__ import annotations

import ast
import copy
import functools
import keyword
import math
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
from mmmtl.registry import LATE
from mmmtl.utils.shipped import find_config
from mmmtl.utils.syntax import read_names, watched, written_names
from mmmtl.utils.trees import merged

Writes = Mapping[str, 'tuple[Callable[[Any], Any], ...]']
"""What becomes of the value of a top-level name after each of its assignments."""

_NOTHING: Writes = {}
_STYLE = '{based_on_style: pep8, column_limit: 100, split_all_top_level_comma_separated_values: true}'


def _merged_onto(new: Any, old: Any) -> Any:
    return merged(old, new)


class ConfigFile:
    """A file (``path``), its ``bases``, its statements (``tree``), the top-level ``names`` it assigns, each with the line
    of the first assignment, and the names it ``reads``, its own and its bases'.
    """

    def __init__(self, path: str, children: tuple[str, ...] = ()) -> None:
        self.path, bases = path, ast.parse('()', mode='eval').body
        if path in children:
            raise ConfigError(f"config '{path}' is a base of itself")
        try:
            self.tree = ast.parse(_fill_in(Path(path).read_text(encoding='utf-8-sig'), path), filename=path)
            for statement in [s for s in self.tree.body if ast.unparse(s).startswith('_base_ = ')]:
                bases = statement.value  # type: ignore[attr-defined]
                self.tree.body.remove(statement)
            listed = ast.literal_eval(bases)
        except ConfigError:
            raise
        except (SyntaxError, ValueError) as error:  # ValueError: text that is not UTF-8, bases that are not text
            line = getattr(error, 'lineno', None) or getattr(bases, 'lineno', '?')
            raise ConfigError(f"config '{path}' can't be read: line {line}: {error}") from error
        paths = [find_config(base, osp.dirname(path)) for base in ([listed] if isinstance(listed, str) else listed)]
        self.bases = [ConfigFile(base, (*children, path)) for base in paths]
        simple = [s for s in ast.walk(self.tree) if isinstance(s, ast.stmt)]
        self.names = {name: s.lineno for s in reversed(simple) for name in reversed(written_names(s))}
        self.names = dict(reversed(self.names.items()))
        self.reads = {name for node in ast.walk(self.tree) for name in read_names(node)}
        body = ast.Module(watched(copy.deepcopy(self.tree.body)), [])
        self._code = compile(ast.fix_missing_locations(body), path, 'exec')

    def chain(self) -> Iterator[ConfigFile]:
        """All files, bases first."""
        for base in self.bases:
            yield from base.chain()
        yield self

    def values(self, writes: Writes = _NOTHING) -> dict[str, Any]:
        """What the file says, with its bases; ``writes``: what becomes of top-level names.

        A name that the file sets over a base's is written into the base before the base uses it. Sections, which a
        runner builds objects from, are merged afterwards.
        """
        bases = self._base_values(writes)
        for name in [n for n in self.names if n in bases and n not in LATE]:
            own, _ = self._run(bases, writes)
            if name in own:
                writes = {**writes, name: (functools.partial(_merged_onto, own[name]), *writes.get(name, ()))}
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
                twice = (
                    f'Duplicate key is not allowed among bases: {", ".join(repeated)}, in {base.path} and another one'
                )
                raise ConfigError(f"config '{self.path}' can't be read: {twice}")
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
        except (Exception, SystemExit) as error:
            lines = [f.lineno or 0 for f in traceback.extract_tb(error.__traceback__) if f.filename == self.path]
            why = self._explain(error, lines[-1] if lines else 0, bases)
            raise ConfigError(
                f"config '{self.path}' can't be read: line {lines[-1] if lines else '?'}: {why}"
            ) from error
        kept = {k: v for k, v in scope.items() if k != '_base_' and not k.startswith('__')}
        return {k: v for k, v in kept.items() if not isinstance(v, (FunctionType, ModuleType))}, scope['_base_']

    def _explain(self, error: BaseException, line: int, bases: Mapping) -> str:
        """What went wrong in a line, with the near names where a choice is not offered."""
        if 'read_base' in self.reads:
            return 'configs of the form `with read_base():` are not read here: name the files as text, _base_ = [...]'
        if isinstance(error, KeyError):
            calls = [
                n for n in ast.walk(self.tree) if isinstance(n, ast.Call) and n.lineno <= line <= (n.end_lineno or 0)
            ]
            offered = {k.arg or '' for call in calls for k in call.keywords} | set(bases)
            return f'there is no {error.args[0]!r}.{suggest(str(error.args[0]), offered)}'
        near = suggest(str(error).split("'")[-2], bases) if isinstance(error, AttributeError) else ''
        return f'{type(error).__name__}: {error}{near}'


def _fill_in(text: str, path: str) -> str:
    """``{{ fileDirname }}`` and its like, ``{{ $NAME:default }}`` and ``{{ _base_.name }}``, as in mmengine."""
    stem, end = osp.splitext(osp.basename(path))
    known = dict(fileDirname=osp.dirname(path), fileBasename=stem + end, fileBasenameNoExtension=stem, fileExtname=end)

    def value(match: re.Match) -> str:
        name, sign, default = match[1].partition(':')
        if name.startswith('$'):
            variable = name[1:].strip()
            if not sign and variable not in os.environ:
                raise ConfigError(
                    f"config '{path}': the environment variable {variable} is not set: set it, or write "
                    f'{{{{ ${variable}:DEFAULT }}}}'
                )
            return os.environ.get(variable, default.strip())
        return known.get(name.strip(), match[1].strip() if name.startswith('_base_.') else match[0])

    return re.sub(r'\{\{\s*([$\w][^{}]*?)\s*\}\}', value, text)


class OrderedConfig(Config):
    """mmengine's config, written in the order of its entries.

    mmengine sorts names wherever it writes a config: into the work dir, logs and checkpoints. The order of tasks is part
    of a network, so a run's own config would build another one.
    """

    @property
    def pretty_text(self) -> str:
        """The config as Python."""
        from yapf.yapflib.yapf_api import FormatCode

        lines = (f'{name} = {_literal(value)}\n' for name, value in self.to_dict().items())
        return str(FormatCode(''.join(lines), style_config=_STYLE)[0])


def _literal(value: Any) -> str:
    """A value as Python writes it."""
    if isinstance(value, Mapping):
        if all(isinstance(n, str) and n.isidentifier() and not keyword.iskeyword(n) for n in value):
            return f'dict({", ".join(f"{name}={_literal(entry)}" for name, entry in value.items())})'
        return f'{{{", ".join(f"{name!r}: {_literal(entry)}" for name, entry in value.items())}}}'
    if isinstance(value, (list, tuple)):
        inside = ', '.join(map(_literal, value))
        return f'[{inside}]' if isinstance(value, list) else f'({inside}{"," if len(value) == 1 else ""})'
    if isinstance(value, float) and not math.isfinite(value):
        return f"float('{value}')"
    return repr(value)
