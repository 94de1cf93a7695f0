"""The house's rules, read off the source: imports run downwards, task names stay in their rooms, imports are quick."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / 'mmmtl'

FLOORS = {
    'ground': (
        'version',
        'errors',
        'registry',
        'compat',
        'utils',
        'structures',
        'ops',
        'diffusion',
        'evaluation.functional',
        'models.losses',
    ),
    'first': ('tasks', 'evaluation'),
    'second': ('datasets', 'models', 'visualization'),
    'third': ('engine', 'config', 'inference'),
    'fourth': ('apis',),
    'fifth': ('analysis', 'hub', 'app', 'export'),
    'sixth': ('catalogue',),
    'seventh': ('commands',),
    'eighth': ('__main__',),
}
"""Rooms by floor, from the ground up; of two names that fit, the longer one counts."""

SHARED_ROOMS = ('backbones', 'necks', 'losses', 'layers', 'label_encoders')
METHODS = tuple(
    p.name
    for p in sorted((PACKAGE / 'models').iterdir())
    if (p / '__init__.py').exists() and p.name not in SHARED_ROOMS
)
"""Folders of ``models`` that hold one method each: none imports another, what they share is in ``models.layers``."""

TASK_NAMES = (
    'semseg',
    'human_parts',
    'saliency',
    'normals',
    'boundary',
    'depth',
    'optical_flow',
    'scene_flow',
    'albedo',
    'shading',
)
TASK_ROOMS = ('tasks', 'datasets')


def python_files(*folders: str) -> list[Path]:
    """All Python files under these folders of the repository, except what packaging links into the package."""
    found = [path for folder in folders for path in sorted((ROOT / folder).rglob('*.py'))]
    return [path for path in found if '.mim' not in path.parts]


def module_of(path: Path) -> str:
    """``mmmtl/models/layers/film.py`` -> ``models.layers.film``; the package's own ``__init__`` is ''."""
    parts = path.relative_to(PACKAGE).with_suffix('').parts
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


def imported(path: Path) -> list[tuple[int, str]]:
    """Modules of mmmtl that a file imports, wherever in it: (line, name without ``mmmtl.``)."""
    own = module_of(path).split('.') if module_of(path) else []
    package = own if path.name == '__init__.py' else own[:-1]
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ''
            if node.level:
                base = '.'.join(['mmmtl', *package[: len(package) - node.level + 1], *filter(None, [node.module])])
            found += [(node.lineno, f'{base}.{alias.name}') for alias in node.names]
    return [(line, name[len('mmmtl.') :]) for line, name in found if name.startswith('mmmtl.')]


def room_of(module: str) -> str | None:
    """The room that a module lies in, or None for the package itself."""
    rooms = [room for floor in FLOORS.values() for room in floor if f'{module}.'.startswith(f'{room}.')]
    return max(rooms, key=len, default=None)


def floor_of(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS.values()) if room in rooms)


def test_the_rules_have_something_to_read():
    files = python_files('mmmtl')
    assert len(files) > 30
    everything = [pair for path in files for pair in imported(path)]
    assert len(everything) > 50
    assert room_of('models.losses.regression') == 'models.losses' and room_of('models.layers') == 'models'
    assert room_of('evaluation.metrics') == 'evaluation' and room_of('__version__') is None
    missing = [module_of(path) for path in files if module_of(path) and room_of(module_of(path)) is None]
    assert missing == [], 'these modules are in no room of FLOORS'


def floor_violations(files: list[Path]) -> list[str]:
    """Imports that go up, or across to another room of the same floor."""
    wrong = []
    for path in files:
        room = room_of(module_of(path))
        floor = floor_of(room) if room else 0
        for line, name in imported(path):
            other = room_of(name)
            if other is None or other == room:
                continue
            if floor_of(other) > floor or (floor_of(other) == floor and floor > 0):
                wrong.append(f'{path.relative_to(ROOT)}:{line}: {room} imports mmmtl.{name}')
    return wrong


def test_imports_run_downwards():
    # Two rooms of the ground may import one another (the shims and the registries serve the rest), not in a circle:
    # Python itself would fail on that.
    assert floor_violations(python_files('mmmtl')) == []


def test_a_violation_is_seen(tmp_path, monkeypatch):
    """The control for the test above."""
    monkeypatch.setattr('tests.test_house.PACKAGE', tmp_path / 'mmmtl')
    monkeypatch.setattr('tests.test_house.ROOT', tmp_path)
    (tmp_path / 'mmmtl' / 'datasets').mkdir(parents=True)
    bad = tmp_path / 'mmmtl' / 'datasets' / 'bad.py'
    bad.write_text(
        'from ..models import x\ndef f():\n    import mmmtl.engine.hooks\nfrom .files import y\n'
        'from mmmtl.tasks import z\nfrom mmmtl import apis\n'
    )
    assert {text.split(': ')[1] for text in floor_violations([bad])} == {
        'datasets imports mmmtl.models.x',
        'datasets imports mmmtl.engine.hooks',
        'datasets imports mmmtl.apis',
    }


def test_methods_do_not_import_one_another():
    wrong = []
    for method in METHODS:
        files = python_files(f'mmmtl/models/{method}')
        assert files, method
        for path in files:
            for line, name in imported(path):
                other = name.split('.')[1] if name.startswith('models.') else ''
                if other in METHODS and other != method:
                    wrong.append(f'{path.relative_to(ROOT)}:{line}: imports mmmtl.{name}; share it in models.layers')
    assert wrong == []


LINES = 400


def test_a_file_does_one_thing():
    """About 400 lines is where a second thing begins."""
    found = {
        path.relative_to(PACKAGE).as_posix(): len(path.read_text(encoding='utf-8').splitlines())
        for path in python_files('mmmtl')
    }
    assert {name: count for name, count in found.items() if count > LINES} == {}


@pytest.mark.parametrize(('room', 'most'), [('apis', 1700), ('config', 500)])
def test_rooms_stay_small(room, most):
    """What a user imports, and the one rule of options: small enough to be read whole."""
    lines = sum(len(path.read_text(encoding='utf-8').splitlines()) for path in python_files(f'mmmtl/{room}'))
    assert lines <= most


PROCESSOR = re.compile(r'\btorch\.device\b|\.device\.type|is_grad_enabled|is_autocast_enabled|is_compiling')


def test_only_the_kernels_ask_where_and_how_they_run():
    asking = {
        path.relative_to(PACKAGE).as_posix(): sorted(found)
        for path in python_files('mmmtl/models')
        if (found := set(PROCESSOR.findall(path.read_text(encoding='utf-8'))))
    }
    assert asking == {}


READING_PATH = [f'mmmtl/models/taskdiffusion/{name}.py' for name in ('decoder', 'denoiser', 'heads', 'label_encoder')]
ARITHMETIC = re.compile(r'device|is_grad_enabled|autocast|channels.last|bytes', re.IGNORECASE)


def test_a_method_reads_like_its_paper():
    """What is read to understand TaskDiffusion: at most 650 lines, none of which is about the machine."""
    texts = {name: (ROOT / name).read_text(encoding='utf-8') for name in READING_PATH}
    assert sum(len(text.splitlines()) for text in texts.values()) <= 650
    assert {name: found for name, text in texts.items() if (found := ARITHMETIC.findall(text))} == {}
    for method in ('diffusionmtl', 'stablemtl'):
        for path in python_files(f'mmmtl/models/{method}'):
            if path.stem != 'autoencoders':  # sets up another package's network
                found = set(ARITHMETIC.findall(path.read_text(encoding='utf-8'))) - {
                    'device'
                }  # of a tensor that is made
                assert found == set(), path


def test_the_drawing_of_the_rooms_is_made_from_the_imports():
    done = subprocess.run(
        [sys.executable, 'tools/misc/draw_rooms.py'], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert 'models --> tasks' in done.stdout and 'tasks --> models\n' not in done.stdout
    page = (ROOT / 'docs' / 'architecture.md').read_text(encoding='utf-8')
    assert '```mermaid\nflowchart' in page
    for name in set(re.findall(r'`(mmmtl/[a-z_/]+(?:\.py)?)`', page)):
        assert (ROOT / name).exists(), f'docs/architecture.md names {name}'


def test_tools_and_configs_are_imported_by_nobody():
    wrong = []
    for path in python_files('mmmtl'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ''] if isinstance(node, ast.ImportFrom) and not node.level else []
            wrong += [
                f'{path.relative_to(ROOT)}:{node.lineno}'
                for name in names
                if name.split('.')[0] in ('tools', 'configs', 'tests')
            ]
    assert wrong == []


def docstrings(tree: ast.AST) -> set[int]:
    """Ids of the nodes that are documentation: docstrings, and strings that stand alone after an attribute."""
    statements = (node.value for node in ast.walk(tree) if isinstance(node, ast.Expr))
    return {id(value) for value in statements if isinstance(value, ast.Constant)}


def names_a_task(text: str) -> bool:
    """Whether a string is a task's name, alone or as a part of a key: ``depth``, ``loss_depth``, ``depth/RMSE``."""
    if re.search(r'\s', text.strip()) or not text.strip():
        return False  # a sentence
    parts = re.split(r'[./:,;|]', text.strip())
    bare = [re.sub(r'^(loss|load|gt|pred|aux)_', '', part) for part in parts]
    return any(part in TASK_NAMES for part in bare)


def task_literals(path: Path) -> list[str]:
    tree = ast.parse(path.read_text(encoding='utf-8'))
    ignored = docstrings(tree)
    return [
        f'{path.name}:{node.lineno}: {node.value!r}'
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and id(node) not in ignored
        and names_a_task(node.value)
    ]


def test_task_names_stay_in_their_rooms():
    """Nothing outside tasks and datasets may know a task by name; a new task needs no edit there."""
    files = [
        path
        for path in python_files('mmmtl', 'tools')
        if not (path.is_relative_to(PACKAGE) and module_of(path).split('.')[0] in TASK_ROOMS)
    ]
    wrong = {str(path.relative_to(ROOT)): found for path in files if (found := task_literals(path))}
    assert wrong == {}


def test_task_names_are_those_of_the_registry():
    """The list above is complete: every name under which a shipped task is registered or known by default."""
    found = set()
    for path in python_files('mmmtl/tasks'):
        found |= {literal.split("'")[1] for literal in task_literals(path)}
    assert set(TASK_NAMES) <= found | set(re.findall(r'[a-z_]+', ' '.join(p.stem for p in python_files('mmmtl/tasks'))))


def test_a_task_name_is_seen(tmp_path):
    """The control for the test above."""
    path = tmp_path / 'bad.py'
    path.write_text(
        '"""About depth."""\nif task == "depth":\n    key = f"aux.loss_{task}" + "loss_semseg"\n'
        'x = "albedo/RMSE"\ny = "the depth of the tree"\nz = "depth_wise"\n"""normals"""\n'
    )
    found = {text.split(': ')[1] for text in task_literals(path)}
    assert found == {"'depth'", "'loss_semseg'", "'albedo/RMSE'"}


@pytest.mark.parametrize('folder', ['mmmtl', 'tools', 'configs', 'tests'])
def test_every_file_says_what_it_is(folder):
    silent = [
        str(path.relative_to(ROOT))
        for path in python_files(folder)
        if path.stat().st_size and ast.get_docstring(ast.parse(path.read_text(encoding='utf-8'))) is None
    ]
    if folder == 'configs':  # a config's first lines may be comments
        silent = [name for name in silent if not (ROOT / name).read_text(encoding='utf-8').lstrip().startswith('#')]
    assert silent == []


def test_import_floor_of_the_package_itself():
    """``import mmmtl`` brings the shims and the version, none of the rooms."""
    code = 'import sys, mmmtl; print(*sorted(m for m in sys.modules if m.startswith("mmmtl.")))'
    done = subprocess.run([sys.executable, '-c', code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ['mmmtl.compat', 'mmmtl.version']


def cpu_seconds(code: str) -> float:
    """User and system time of a fresh interpreter; unlike the clock's, not stretched by what else is running."""
    before = os.times()
    subprocess.run([sys.executable, '-c', code], cwd=ROOT, check=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def test_import_time():
    """``import mmmtl`` < 1.5 x ``import torch, mmengine``, each the least of several, taken in turns."""
    codes = ('import torch, mmengine', 'import mmmtl')
    times = [[cpu_seconds(code) for code in codes] for _ in range(3)]
    base, ours = (min(column) for column in zip(*times))
    assert ours < 1.5 * base, f'import mmmtl takes {ours:.2f} s, import torch, mmengine {base:.2f} s'
