"""A thin installation: training and testing with everything blocked that only some configs need."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_config import write_config

ROOT = Path(__file__).resolve().parents[1]
BLOCKED = (
    'mmcv mmseg ftfy regex skimage torchjd ecos quadprog qpsolvers cvxpy clarabel h5py OpenEXR diffusers transformers '
    'accelerate argcomplete pillow_heif datasets pyarrow onnx onnxruntime onnxscript openvino tensorboard'
).split()
BLOCKER = f"""
import sys
sys.modules.update(dict.fromkeys({BLOCKED!r}))
"""


def run(folder: Path, code: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, '-c', BLOCKER + code],
        cwd=folder,
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'},
    )


def test_training_validation_and_prediction_without_what_they_do_not_name(tmp_path):
    config = write_config(tmp_path)
    code = f"""
from mmmtl.commands import main
main(['train', {config!r}, '--work-dir', 'work', '--cfg-options', 'max_iters=2'])
main(['test', {config!r}, 'work/iter_2.pth', '--work-dir', 'work'])
main(['train', {config!r}, '--work-dir', 'work', '--resume', '--cfg-options', 'max_iters=4'])
import numpy as np
from mmmtl.apis import Inferencer
print(sorted(Inferencer({config!r}, 'work/iter_4.pth')(np.zeros((40, 50, 3), np.uint8))[0].pred))
import mmmtl
print(mmmtl.get_model('taskdiffusion/vitt_diorama').tasks.keys())
assert not [n for n, module in sys.modules.items() if module and n.partition('.')[0] in {BLOCKED!r}]
"""
    done = run(tmp_path, code)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "['boundary', 'depth', 'semseg']" in done.stdout


def test_a_config_that_names_mmsegmentation_says_what_to_install(tmp_path):
    code = "from mmmtl.commands import main\nmain(['flops', 'mmmtl::demt/swint_pascal'])"
    done = run(tmp_path, code)
    assert done.returncode == 1 and "pip install 'mmmtl[mmseg]'" in done.stderr and 'Traceback' not in done.stderr


def test_a_runner_starts_where_python_has_no_find_loader(tmp_path):
    config = write_config(tmp_path)
    code = f"""
import pkgutil
if hasattr(pkgutil, 'find_loader'):
    del pkgutil.find_loader
from mmmtl.commands import main
from mmmtl import compat
main(['train', {config!r}, '--work-dir', 'work', '--cfg-options', 'max_iters=2'])
assert pkgutil.find_loader('json') is not None and pkgutil.find_loader('no.such') is None
assert pkgutil.find_loader('nosuch') is None and not compat.replace_find_loader()
"""
    done = run(tmp_path, code)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'work' / 'iter_2.pth').is_file()


@pytest.mark.parametrize('name', ['mmcv', 'skimage'])
def test_the_blocker_blocks(tmp_path, name):
    """The control for the tests above."""
    assert run(tmp_path, f'import {name}').returncode == 1
