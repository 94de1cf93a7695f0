"""Pages that are made: each is what the command writes, and lists every component there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mmmtl.analysis.component_pages import PAGES, components_of
from mmmtl.commands.pages import pages
from mmmtl.evaluation.metrics.base import TaskMetric
from mmmtl.hub.sources import SOURCES
from mmmtl.registry import DATASETS, METRICS, TASKS, TRANSFORMS, register_all_modules

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / 'docs'


@pytest.fixture(scope='module')
def made() -> dict[str, str]:
    return pages(DOCS)


def test_pages_are_what_the_command_writes(made):
    changed = [place for place, text in made.items() if (DOCS / place).read_text(encoding='utf-8') != text]
    assert changed == [], 'run `mmmtl pages`'
    assert set(made) == {f'catalogue/{page}.md' for page in PAGES} | {'licences.md'}


def test_every_component_is_on_a_page(made):
    register_all_modules(set_scope=False)
    for page, registry in (('tasks', TASKS), ('datasets', DATASETS), ('transforms', TRANSFORMS), ('metrics', METRICS)):
        own = {n for n, kind in registry.module_dict.items() if kind.__module__.startswith('mmmtl.')}
        listed = set(re.findall(r'^## `(\w+)`$', made[f'catalogue/{page}.md'], re.MULTILINE))
        assert own and own == listed, page
    assert all(list(components_of(page)) for page in PAGES)


def test_metrics_have_formulas(made):
    text = made['catalogue/metrics.md']
    for name, kind in components_of('metrics'):
        if issubclass(kind, TaskMetric) and name != 'ExternalMetric':
            part = text.partition(f'## `{name}`\n')[2].partition('\n## ')[0]
            assert '**Formulas**' in part and '|' in part, name


def test_arguments_stand_in_the_tables(made):
    part = made['catalogue/decoders.md'].partition('## `TaskDiffusionDecoder`\n')[2].partition('\n## ')[0]
    assert "dict(type='TaskDiffusionDecoder'" in part and '| `steps` | ' in part
    text = re.sub(r'^```.*?^```', '', ''.join(made.values()), flags=re.MULTILINE | re.DOTALL)
    assert re.findall(r'.{20}(?:``|:func:|:class:| at 0x).{20}', text) == []


def test_licences_of_every_method_and_set(made):
    text = made['licences.md']
    assert all(source.licence in text and source.kind in text for source in SOURCES.values())
    titles = [
        yaml.safe_load(path.read_text(encoding='utf-8'))['Collections'][0]
        for path in sorted((ROOT / 'configs').glob('*/metafile.yml'))
    ]
    assert all(f'| {about["Title"]} |' in text and about['Licence'] in text for about in titles if about.get('Code'))
    assert [about['Title'] for about in titles if not about.get('Code')] == ['All methods, small']


def test_pictures_of_the_pages_are_there_and_small():
    shown = {name for page in DOCS.glob('*.md') for name in re.findall(r'\]\(pictures/([\w.]+)\)', page.read_text())}
    assert shown and all((DOCS / 'pictures' / name).stat().st_size < 250_000 for name in shown)


def test_badges_are_true():
    readme, setup = (ROOT / 'README.md').read_text(encoding='utf-8'), (ROOT / 'setup.py').read_text(encoding='utf-8')
    first, last = re.search(r'range\((\d+), (\d+)\)', setup).groups()
    assert f'python-3.{first}%20to%203.{int(last) - 1}-' in readme
    torch = re.search(r'^torch>=([\d.]+)', (ROOT / 'requirements/runtime.txt').read_text(), re.MULTILINE).group(1)
    assert f'torch-%E2%89%A5%20{torch}-' in readme
    assert 'licence-Apache--2.0-' in readme and "license='Apache-2.0'" in setup
