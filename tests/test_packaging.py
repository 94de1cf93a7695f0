"""Packaging: what a wheel and an editable install contain, and that the files agree with one another."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILT = ('build', 'dist', 'work_dirs', 'site', '.mim')


@pytest.fixture()
def tree(tmp_path) -> Path:
    """A copy of what packaging reads, to build in."""
    copy = tmp_path / 'tree'
    ignore = shutil.ignore_patterns('__pycache__', '*.pyc', '*.egg-info', *BUILT)
    for name in ('mmmtl', 'configs', 'tools', 'requirements'):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=ignore)
    for name in ('setup.py', 'MANIFEST.in', 'LICENSE', 'README.md', 'setup.cfg'):
        if (ROOT / name).is_file():
            shutil.copyfile(ROOT / name, copy / name)
    (copy / 'configs' / 'example').mkdir(parents=True, exist_ok=True)
    (copy / 'configs' / 'example' / 'run.py').write_text('"""An example."""\n')
    return copy


def pip(*arguments: str, cwd: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            '-m',
            'pip',
            *arguments,
            '--no-deps',
            '--no-build-isolation',
            '-q',
            '--disable-pip-version-check',
        ],
        cwd=cwd,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_wheel(tree, tmp_path):
    pip('wheel', '.', '-w', str(tmp_path / 'wheels'), cwd=tree)
    [wheel] = (tmp_path / 'wheels').glob('*.whl')
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(next(name for name in names if name.endswith('/METADATA'))).decode()
    sources = {str(path.relative_to(tree)) for path in (tree / 'mmmtl').rglob('*.py') if '.mim' not in path.parts}
    assert sources <= names
    assert {'mmmtl/py.typed', 'mmmtl/.mim/configs/example/run.py'} <= names
    assert any(name.endswith(('licenses/LICENSE', 'dist-info/LICENSE')) for name in names)
    assert not [name for name in names if name.split('/')[0] in ('tests', 'docs', 'tools', 'configs', 'requirements')]
    assert 'Requires-Dist: mmengine' in metadata and 'Provides-Extra: all' in metadata
    assert re.search(r'Requires-Dist: mmcv-lite<2\.2\.0,>=2\.1\.0; extra == .mmseg', metadata)
    assert 'Requires-Python: >=3.10' in metadata
    with zipfile.ZipFile(wheel) as archive:
        scripts = archive.read(next(name for name in names if name.endswith('/entry_points.txt'))).decode()
    assert 'mmmtl = mmmtl.commands:main' in scripts
    assert {f'mmmtl/commands/templates/{p.name}' for p in (tree / 'mmmtl/commands/templates').iterdir()} <= names
    thin = [line for line in metadata.splitlines() if line.startswith('Requires-Dist') and 'extra ==' not in line]
    heavy = ('mmcv', 'mmseg', 'ftfy', 'regex', 'scikit-image', 'torchjd', 'ecos', 'quadprog', 'qpsolvers', 'diffusers')
    assert not [line for line in thin if any(name in line for name in heavy)]
    everything = [line for line in metadata.splitlines() if 'extra == "all"' in line]
    assert everything and not [line for line in everything if re.search('ecos|quadprog|qpsolvers|heif', line)]


def test_editable_install_links_the_configs(tree, tmp_path):
    """As done by whatever pip is here (25 and newer call ``editable_wheel``)."""
    pip('install', '-e', '.', '--target', str(tmp_path / 'site'), cwd=tree)
    link = tree / 'mmmtl' / '.mim' / 'configs'
    assert link.is_symlink() and not os.path.isabs(os.readlink(link)) and (link / 'example' / 'run.py').exists()
    pip('wheel', '.', '-w', str(tmp_path / 'wheels'), cwd=tree)  # and a wheel from the same tree holds copies
    assert not link.is_symlink() and (link / 'example' / 'run.py').exists()


@pytest.mark.parametrize(
    'command, editable',
    [('develop', True), ('editable_wheel', True), ('bdist_wheel', False), ('sdist', False), ('egg_info', None)],
)
def test_mim_folder_by_command(tree, command, editable):
    namespace = {'__file__': str(tree / 'setup.py'), '__name__': 'setup'}
    exec((tree / 'setup.py').read_text(), namespace)
    namespace['add_mim_folder']([command])
    configs = tree / 'mmmtl' / '.mim' / 'configs'
    assert configs.exists() == (editable is not None) and configs.is_symlink() == bool(editable)
    namespace['add_mim_folder']([command])  # a second time, over the first
    assert configs.exists() == (editable is not None)


def test_setup_imports_nothing_that_must_be_installed_first():
    nodes = list(ast.walk(ast.parse((ROOT / 'setup.py').read_text())))
    names = {alias.name.split('.')[0] for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module.split('.')[0] for node in nodes if isinstance(node, ast.ImportFrom)}
    assert names <= {'setuptools', *sys.stdlib_module_names}


def test_version():
    import mmmtl

    assert re.fullmatch(r'\d+\.\d+\.\d+([ab]\d+|rc\d+|\.dev\d+)?', mmmtl.__version__)


def requirements() -> dict[str, list[str]]:
    """Lines of requirements/*.txt without comments."""
    files = sorted((ROOT / 'requirements').glob('*.txt'))
    lines = {path.stem: [line.split('#')[0].strip() for line in path.read_text().split('\n')] for path in files}
    return {name: [line for line in found if line] for name, found in lines.items()}


def test_every_requirements_file_is_packaged():
    source = (ROOT / 'setup.py').read_text()
    assert {'runtime', 'mmseg', 'diffusion', 'text', 'tensorboard', 'tests', 'docs'} <= set(requirements())
    assert all(f"'{name}'" in source for name in requirements())


def test_this_environment_meets_the_requirements():
    from packaging.requirements import Requirement

    for line in requirements()['runtime']:
        wanted = Requirement(line)
        assert wanted.specifier.contains(importlib.metadata.version(wanted.name), prereleases=True), line


IMPORT_NAMES = {
    'mmcv-lite': 'mmcv',
    'mmsegmentation': 'mmseg',
    'opencv-python': 'cv2',
    'scikit-image': 'skimage',
    'pillow-heif': 'pillow_heif',
    'pyyaml': 'yaml',
    'tensorboard': 'torch.utils.tensorboard',
}
IMPLIED = {
    'PIL',
    'packaging',
    'mmmtl',
    'benchmarks',
    'huggingface_hub',
    'yapf',
    'addict',
    'prettytable',
    'rich',
    'markupsafe',
}
"""Modules that a requirement brings for certain: mmengine, mmcv, torchvision, timm."""


def test_every_import_is_declared():
    """A module that the package or its tools import is the standard library's, or comes with a requirement."""
    declared = {
        IMPORT_NAMES.get(name, name).split('.')[0]
        for lines in requirements().values()
        for name in (re.split(r'[<>=\[ ;]', line)[0] for line in lines)
    }
    undeclared = {}
    for path in [*(ROOT / 'mmmtl').rglob('*.py'), *(ROOT / 'tools').rglob('*.py')]:
        if '.mim' in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level and node.module else []
            for name in (name.split('.')[0] for name in names):
                beside = (path.parent / f'{name}.py').exists()
                if name not in sys.stdlib_module_names | declared | IMPLIED and not beside:
                    undeclared.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert undeclared == {}


def test_makefile_has_the_commands():
    source = (ROOT / 'Makefile').read_text()
    for target in ('install', 'demo', 'test', 'lint', 'docs', 'clean'):
        assert re.search(rf'^{target}:', source, re.MULTILINE), target
    assert 'make test' in (ROOT / '.ci' / 'run').read_text() and os.access(ROOT / '.ci' / 'run', os.X_OK)


def test_nothing_built_is_committed():
    if not (ROOT / '.git').exists() or shutil.which('git') is None:
        pytest.skip('not a git checkout')
    listed = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    assert not [name for name in listed if set(Path(name).parts) & {*BUILT, '.venv', '__pycache__'}]
    assert not [name for name in listed if name.endswith(('.pyc', '.part'))]
