"""Train, test and resume in fresh environments of other versions of Python, and on the onedl forks.

Every environment takes minutes and gigabytes, so that they are made only where they are asked for::

    MMMTL_COMPAT=3.10,3.13 python -m pytest tests/compat                 # with mmengine
    MMMTL_COMPAT=3.12 MMMTL_COMPAT_STACK=onedl python -m pytest tests/compat

An interpreter is found on the path, among pyenv's, or by ``uv`` where that is installed. ``MMMTL_COMPAT_KEEP=FOLDER``
keeps the environments there and uses them again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.tiny_config import write_config

ROOT = Path(__file__).resolve().parents[2]
VERSIONS = [version for version in os.environ.get('MMMTL_COMPAT', '').split(',') if version]
STACK = os.environ.get('MMMTL_COMPAT_STACK', 'mmengine')
FORKS = {'mmengine': 'onedl-mmengine', 'mmcv-lite': 'onedl-mmcv', 'mmsegmentation': 'onedl-mmsegmentation'}
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not VERSIONS, reason='MMMTL_COMPAT names no version of Python')]

SMOKE = """
import mmengine, sys
from mmmtl.commands import main
config, work = sys.argv[1:]
main(['train', config, '--work-dir', work, '--cfg-options', 'max_iters=2'])
main(['test', config, f'{work}/iter_2.pth', '--work-dir', work])
main(['train', config, '--work-dir', work, '--resume', '--cfg-options', 'max_iters=4'])
print('smoke', sys.version.split()[0], 'mmengine', mmengine.__version__, mmengine.__file__)
"""


def interpreter(version: str) -> str:
    """An interpreter of a version.

    Raises:
        pytest.fail.Exception: There is none, although one was asked for.
    """
    if found := shutil.which(f'python{version}'):
        works = subprocess.run([found, '-c', 'import venv, ensurepip'], capture_output=True)
        if works.returncode == 0:
            return found
    kept = sorted(Path.home().glob(f'.pyenv/versions/{version}.*/bin/python'))
    if kept:
        return str(kept[-1])
    if uv := shutil.which('uv'):
        done = subprocess.run([uv, 'python', 'find', version], capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout.strip()
    pytest.fail(f'there is no Python {version} on the path, among pyenv or uv')


def checked(*command: str, **options: object) -> str:
    done = subprocess.run(command, capture_output=True, text=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f'{" ".join(command)}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}'
    return done.stdout + done.stderr


def sources(folder: Path) -> Path:
    """A copy of the sources: a build leaves files in the tree."""
    ignored = shutil.ignore_patterns('.*', '__pycache__', 'work_dirs', 'build', 'site', '*.egg-info')
    return Path(shutil.copytree(ROOT, folder, ignore=ignored))


def environment(version: str, folder: Path, copy: Path) -> str:
    """Make an environment with this package, and return its Python."""
    python = folder / 'bin' / 'python'
    if not python.is_file():
        checked(interpreter(version), '-m', 'venv', str(folder))
        pip = [str(python), '-m', 'pip', 'install', '-q', '--disable-pip-version-check']
        cpu = subprocess.run(
            [*pip, '--retries', '1', '--timeout', '20', '--index-url', CPU_INDEX, 'torch', 'torchvision']
        )
        if cpu.returncode:  # not to be had there: the usual one
            checked(*pip, 'torch', 'torchvision')
        if STACK == 'onedl':
            text = (ROOT / 'requirements' / 'runtime.txt').read_text()
            needed = [re.split(r'\s*#', line)[0] for line in text.splitlines() if line and not line.startswith('#')]
            checked(*pip, FORKS['mmengine'], *(n for n in needed if not n.startswith(('mmengine', 'torch'))))
            checked(*pip, '--no-deps', str(sources(copy)))
        else:
            checked(*pip, str(sources(copy)))
    return str(python)


@pytest.mark.parametrize('version', VERSIONS)
def test_train_test_and_resume(version, tmp_path):
    kept = os.environ.get('MMMTL_COMPAT_KEEP')
    folder = Path(kept) / f'{STACK}_{version}' if kept else tmp_path / 'venv'
    python = environment(version, folder, tmp_path / 'source')
    surroundings = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    config = write_config(tmp_path)
    text = checked(python, '-c', SMOKE, config, str(tmp_path / 'work'), cwd=tmp_path, env=surroundings)
    assert re.search(rf'smoke {re.escape(version)}\S* mmengine', text), text[-2000:]
    assert (tmp_path / 'work' / 'iter_4.pth').is_file()
