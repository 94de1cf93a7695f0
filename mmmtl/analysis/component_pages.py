"""The catalogue pages: every component that a config can name, out of the registries and the docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmmtl.evaluation.metrics.base import TaskMetric
from mmmtl.models.decoder import Decoder
from mmmtl.registry import DATASETS, LABEL_SAMPLERS, METRICS, MODELS, TASKS, TRANSFORMS, Registry, register_all_modules
from mmmtl.tasks import Task

PAGES: dict[str, tuple[str, str, Registry, Callable[[type], bool]]] = {
    'tasks': ('Tasks', 'tasks.<name>=dict(type=...)', TASKS, lambda kind: issubclass(kind, Task)),
    'datasets': ('Data sets', 'train_dataloader.dataset=dict(type=...)', DATASETS, lambda kind: True),
    'label_samplers': ('Label samplers', 'label_sampler=dict(type=...)', LABEL_SAMPLERS, lambda kind: True),
    'metrics': ('Metrics', 'tasks.<name>.metric=dict(type=...)', METRICS, lambda kind: True),
    'transforms': ('Transforms', 'train_pipeline=[dict(type=...), ...]', TRANSFORMS, lambda kind: True),
    'losses': ('Losses', 'tasks.<name>.loss=dict(type=...)', MODELS, lambda kind: _room(kind) == 'losses'),
    'decoders': ('Decoders', 'model.decoder=dict(type=...)', MODELS, lambda kind: issubclass(kind, Decoder)),
    'necks': ('Necks', 'model.neck=dict(type=...)', MODELS, lambda kind: _room(kind) == 'necks'),
    'backbones': ('Backbones', 'model.backbone=dict(type=...)', MODELS, lambda kind: _room(kind) == 'backbones'),
}
"""Pages by file name: title, where a config names one, registry, and which of its classes."""

MADE = '<!-- Made by `mmmtl pages`: change the docstrings, not this page. -->'
_LICENCES = """Code, weights and data each have a licence of their own. This page says what is known; where nothing is stated, ask
the authors before you use it for more than research.

## Code

mmmtl is under the Apache License 2.0. Nothing of the authors' programs is copied; methods are written anew from their papers
and checked against numbers that those programs print. Libraries keep their own licences; copyleft ones are
[never installed by default](diffusionmtl.md#losses-of-conflicting-tasks).

## Weights

| weights | licence |
|---|---|
| those that ship (`taskdiffusion/vitt_diorama`) | Apache-2.0, trained on scenes that this package generates |
| of methods' authors (`mmmtl convert`) | that of the authors' repository, see the table below |
| of timm's backbones (`pretrained=True`) | stated by each model's card on the hub; many are for research alone |
| Stable Diffusion 2 (`stable_diffusion=`) | CreativeML Open RAIL++-M; use restrictions go on to what is made from it |

## Methods

"""


def _room(kind: type) -> str:
    """Folder of ``mmmtl.models`` that a class lies in."""
    parts = kind.__module__.split('.')
    return parts[2] if parts[:2] == ['mmmtl', 'models'] else ''


def components_of(page: str) -> Iterator[tuple[str, type]]:
    """``(name, class)`` of what a page lists: this package's, by name."""
    register_all_modules(set_scope=False)
    _, _, registry, belongs = PAGES[page]
    for name, kind in sorted(registry.module_dict.items()):
        if inspect.isclass(kind) and kind.__module__.startswith('mmmtl.') and belongs(kind):
            yield name, kind


def component_page(page: str, formulas: str = '') -> str:
    """A catalogue page as Markdown.

    Args:
        page: Of :data:`PAGES`.
        formulas: Text of the page of evaluation, whose sections the metrics are linked to.
    """
    title, where, _, _ = PAGES[page]
    found = list(components_of(page))
    lines = [MADE, '', f'# {title}', '', f'In a config: `{where}`. There are {len(found)}.', '']
    lines += ['| type | what it is |', '|---|---|']
    lines += [f'| [`{name}`](#{name.lower()}) | {_first_sentence(kind)} |' for name, kind in found]
    for name, kind in found:
        lines += ['', f'## `{name}`', '', *_about(name, kind)]
        if page == 'metrics' and issubclass(kind, TaskMetric):
            lines += _formulas(name, formulas)
    return '\n'.join(lines) + '\n'


def _about(name: str, kind: type) -> list[str]:
    """Signature and docstring of a class."""
    lines = ['```python', f'dict(type={name!r}{_arguments(kind)})', '```', '']
    text, arguments = _sections(inspect.getdoc(kind) or '')
    lines += [*text, '', f'*Defined in* `{kind.__module__}`.']
    if arguments:
        lines += ['', '| argument | meaning |', '|---|---|', *(f'| `{key}` | {value} |' for key, value in arguments)]
    return lines


def _arguments(kind: type) -> str:
    """Arguments of a class as a config writes them: those that are needed, then defaults."""
    parts = []
    for parameter in list(inspect.signature(kind).parameters.values()):
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        needed = parameter.default is parameter.empty
        value = '...' if needed else _plain_repr(parameter.default)
        parts.append(f', {parameter.name}={value}')
    return ''.join(parts)


def _plain_repr(value: Any) -> str:
    """A default as text that is the same on every machine; of long ones the beginning."""
    if inspect.isclass(value) or callable(value):
        return getattr(value, '__name__', '...')
    text = re.sub(r' at 0x[0-9a-f]+', '', repr(value))
    return text if len(text) <= 60 else '...'


def _first_sentence(kind: type) -> str:
    text = ' '.join(_markdown((inspect.getdoc(kind) or '').split('\n\n')[0]).split())
    return _cell(re.split(r'(?<=[.:]) ', text)[0])


def _sections(doc: str) -> tuple[list[str], list[tuple[str, str]]]:
    """A docstring's text as Markdown, and its arguments."""
    text: list[str] = []
    arguments: list[tuple[str, str]] = []
    section = ''
    for line in _markdown(doc).split('\n'):
        heading = re.fullmatch(r'(Args|Returns|Raises|Attributes|Protocols|Example|Examples|Yields):', line)
        if heading:
            section = heading.group(1)
            if section not in ('Args', 'Attributes'):
                text += ['', f'**{section}**', '']
        elif section == 'Args' and line.startswith(' '):
            started = re.match(r' {4}(\*{0,2}[\w, *]+): ?(.*)', line)
            if started:
                arguments.append((started.group(1), _cell(started.group(2))))
            elif arguments:
                arguments[-1] = (arguments[-1][0], f'{arguments[-1][1]} {_cell(line.strip())}'.strip())
        elif section != 'Attributes' or not line.startswith(' '):
            if line and not line.startswith(' '):
                section = ''
            text.append(line.strip() if section in ('Protocols', 'Raises', 'Returns', 'Yields') else line)
    return [line.rstrip() for line in text], arguments


def _markdown(text: str) -> str:
    """Docstring markup as Markdown: double quotes of code become single ones, roles their names."""
    text = re.sub(r':\w+:`~?(?:[\w.]*\.)?([\w.]+)`', r'`\1`', text)
    return re.sub(r'``(.+?)``', r'`\1`', text)


def _cell(text: str) -> str:
    return text.replace('|', '\\|')


def _formulas(name: str, page: str) -> list[str]:
    """The section of the page of evaluation that defines a metric: a link, and its tables."""
    for section in re.split(r'\n(?=### )', page):
        heading, _, body = section.partition('\n')
        if heading.startswith('### ') and re.search(rf'\b{name}\b', heading):
            plain = re.sub(r'[`*]', '', heading.removeprefix('### ')).lower()
            anchor = re.sub(r'[\s-]+', '-', re.sub(r'[^\w\s-]', '', plain)).strip('-')
            body = re.split(r'\n## ', body)[0].strip()
            body = re.sub(r'\]\((?!http)(?=#)', '](../evaluation.md', body)
            body = re.sub(r'\]\((?!http|\.\./)', '](../', body)
            return ['', f'**Formulas** (from [Evaluation](../evaluation.md#{anchor}))', '', body]
    return []


def licences_page(methods: list[tuple[str, str, str]], sources: list[tuple[str, str, str, str]]) -> str:
    """The page of licences as Markdown.

    Args:
        methods: ``(method, repository, licence)``.
        sources: ``(class, what it is, licence, page)`` of data sets.
    """
    lines = [MADE, '', '# Licences', '', _LICENCES.rstrip(), '']
    lines += ["| method | its authors' code | licence |", '|---|---|---|']
    lines += [f'| {name} | {place} | {licence} |' for name, place, licence in methods]
    lines += ['', '## Data', '', '| class | data | licence | page |', '|---|---|---|---|']
    lines += [f'| `{kind}` | {_cell(what)} | {_cell(licence)} | <{page}> |' for kind, what, licence, page in sources]
    return '\n'.join(lines) + '\n'


def all_pages(docs: Path) -> dict[str, str]:
    """``{path below docs: text}`` of every page that is made."""
    evaluation = docs / 'evaluation.md'
    formulas = evaluation.read_text(encoding='utf-8') if evaluation.is_file() else ''
    return {f'catalogue/{page}.md': component_page(page, formulas) for page in PAGES}
