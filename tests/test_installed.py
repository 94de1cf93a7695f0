"""What a person has who installed the package: every command runs from a wheel, in any folder, without the source tree."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.tiny_config import write_config

ROOT = Path(__file__).resolve().parents[1]
TOOLS = sorted(p.relative_to(ROOT / 'tools').as_posix() for p in (ROOT / 'tools').rglob('*.py'))
HELP = """
import runpy, sys
for tool in sys.argv[2:]:
    sys.argv = [tool, '--help']
    try:
        runpy.run_path(f'{FOLDER}/{tool}', run_name='__main__')
    except SystemExit as end:
        assert end.code == 0, (tool, end.code)
"""
FORKED = """
import json, os, runpy, sys
import mmmtl.apis
for words in json.loads(sys.argv[1]):
    sys.stdout.flush()
    if not os.fork():
        sys.argv = words
        runpy.run_path(words[0], run_name='__main__')
        break
    assert os.wait()[1] == 0, words
    print(end='\\0', flush=True)
"""
"""Commands after one another, each in a process forked from one that has the imports, which take the longest."""


@pytest.fixture(scope='module')
def installed(tmp_path_factory) -> Path:
    """The folder a wheel was installed into, and nothing else."""
    root = tmp_path_factory.mktemp('installed')
    ignore = shutil.ignore_patterns('__pycache__', '.mim', '*.egg-info')
    for name in ('mmmtl', 'configs', 'tools', 'requirements'):
        shutil.copytree(ROOT / name, root / 'tree' / name, ignore=ignore)
    for name in ('setup.py', 'MANIFEST.in', 'LICENSE', 'README.md', 'setup.cfg', 'model-index.yml'):
        shutil.copyfile(ROOT / name, root / 'tree' / name)
    pip = [sys.executable, '-m', 'pip', '-q', '--disable-pip-version-check']
    more = ['--no-deps', '--no-build-isolation']
    subprocess.run([*pip, 'wheel', '.', '-w', '../wheels', *more], cwd=root / 'tree', check=True, capture_output=True)
    [wheel] = (root / 'wheels').glob('*.whl')
    subprocess.run([*pip, 'install', str(wheel), '--no-deps', '--target', str(root / 'site')], check=True)
    shutil.rmtree(root / 'tree')
    return root / 'site'


def run(site: Path, folder: Path, *command: object) -> str:
    """Run Python in ``folder`` with the installed package alone."""
    environment = {**os.environ, 'PYTHONPATH': str(site), 'OMP_NUM_THREADS': '1'}
    done = subprocess.run(
        [sys.executable, *map(str, command)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    return done.stdout


def run_all(site: Path, folder: Path, *commands: Sequence[object]) -> list[str]:
    """Run several, and return what each has printed."""
    words = [[*map(str, command)] for command in commands]
    return run(site, folder, '-c', FORKED, json.dumps(words)).split('\0')[:-1]


@pytest.mark.slow
def test_every_command_of_an_installed_package(installed, tmp_path):
    tools = installed / 'mmmtl' / '.mim' / 'tools'
    assert sorted(p.relative_to(tools).as_posix() for p in tools.rglob('*.py')) == TOOLS
    assert run(installed, tmp_path, '-c', 'import mmmtl; print(mmmtl.__file__)').startswith(str(installed))
    seen = run(installed, tmp_path, '-c', f'FOLDER = {str(tools)!r}\n{HELP}', '-', *TOOLS)
    assert seen.count('usage:') == len(TOOLS)
    assert 'taskdiffusion/vitl_pascal' in run(installed, tmp_path, '-m', 'mmmtl', 'list', 'models', '*pascal*').split()
    run(installed, tmp_path, '-m', 'mmmtl', 'new', 'task', 'heat', '--package', 'thermal')
    assert (tmp_path / 'thermal/thermal/heat.py').is_file()
    config = write_config(tmp_path)
    shipped = installed / 'mmmtl/.mim/configs/taskdiffusion/vitt_diorama.py'
    run(installed, tmp_path, tools / 'train.py', config, '--work-dir', 'work', '--cfg-options', 'max_iters=2')
    checkpoint = next((tmp_path / 'work').glob('iter_2.pth'))
    Image.new('RGB', (50, 41)).save(tmp_path / 'a.png')
    own, flops, speed, tested, inferred = run_all(
        installed,
        tmp_path,
        [tools / 'analysis_tools/get_flops.py', config],
        [tools / 'analysis_tools/get_flops.py', shipped],
        [tools / 'analysis_tools/benchmark.py', config, '--shape', 32, '--repeats', 1],
        [tools / 'test.py', config, checkpoint, '--work-dir', 'work', '--report'],
        [tools / 'infer.py', config, checkpoint, 'a.png'],
    )
    assert 'in a clone of the repository alone' in own and 'input 96 x 96' in flops
    assert 'this model: median' in speed and 'RMSE*' in tested and '1 images, 4 files' in inferred
    assert (tmp_path / 'work' / 'report' / 'index.html').is_file()


NAMED = """
import sys
from pathlib import Path
import yaml
import mmmtl
from mmengine.config import Config
from mmengine.hub import get_config
from mmmtl.config import load_config
site, name = Path(sys.argv[1]), 'mmmtl::taskdiffusion/vitt_diorama'
expected = load_config(site / 'mmmtl/.mim/configs/taskdiffusion/vitt_diorama.py')
assert load_config(name)._cfg_dict == expected._cfg_dict
assert get_config(f'{name}.py').model.to_dict() == expected.model.to_dict()
Path('own.py').write_text(f"_base_ = ['{name}']\\nmax_iters = 7\\n")
Path('theirs.py').write_text(f"_base_ = ['{name}.py']\\nrandomness = dict(seed=3)\\n")
assert load_config('own.py').train_cfg.max_iters == 7
assert Config.fromfile('theirs.py').randomness.seed == 3
mim = site / 'mmmtl/.mim'
metafiles = yaml.safe_load((mim / 'model-index.yml').read_text())['Import']
models = [model for path in metafiles for model in yaml.safe_load((mim / path).read_text())['Models']]
assert len(models) > 20 and all((mim / model['Config']).is_file() for model in models)
assert (mim / 'tools/train.py').is_file() and (mim / 'tools/dist_train.sh').is_file()
print('named')
"""


@pytest.mark.slow
def test_shipped_configs_by_name_from_a_wheel(installed, tmp_path):
    """By this package and by mmengine's hub; and the layout in which ``mim run mmmtl train`` looks for commands."""
    (tmp_path / 'names.py').write_text(NAMED)
    assert run(installed, tmp_path, 'names.py', installed).endswith('named\n')


def test_the_reference_without_the_source_tree_is_one_line(monkeypatch, tmp_path):
    from mmmtl.analysis import published
    from mmmtl.errors import ConfigError

    monkeypatch.setattr(published, '__file__', str(tmp_path / 'site' / 'mmmtl' / 'analysis' / 'published.py'))
    with pytest.raises(ConfigError, match='clone the repository'):
        published.reference_module('match')
