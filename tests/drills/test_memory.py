"""Memory does not grow with the number of images."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mmmtl import apis
from mmmtl.config import load_config
from mmmtl.utils.files import write_png
from tests.drills.conftest import FULL
from tests.drills.processes import fork, wait


def resident() -> float:
    """MiB of this process."""
    gc.collect()
    return int(Path('/proc/self/statm').read_text().split()[1]) * 4096 / 2**20


def measure(trained: Path, folder: Path, count: int) -> None:
    """Evaluate ``count`` images twice the size of the first round; write the growth in MiB."""
    checkpoint, config = str(trained / 'iter_4.pth'), trained.parent / 'tiny.py'
    rounds = []
    for length in (count // 4, count):
        cfg = load_config(config, {'test_dataloader.dataset.length': length})
        apis.test(cfg, checkpoint, str(folder / f'work{length}'))
        rounds.append(resident())
    (folder / 'growth').write_text(str(rounds[1] - rounds[0]))


def test_evaluation(trained, tmp_path, drill):
    count = 5000 if FULL else 120
    assert wait(fork(measure, trained, tmp_path, count), 3600) == 0
    growth = float((tmp_path / 'growth').read_text())
    drill(f'memory flat over {count} images of test.py', growth < 0.05 * count + 8)


def infer(trained: Path, folder: Path, count: int) -> None:
    inferencer = apis.Inferencer(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'))
    levels = []
    for _ in range(2):
        for number in range(count // 2):
            inferencer(str(folder / f'{number % 8}.png'))
        levels.append(resident())
    (folder / 'growth').write_text(str(levels[1] - levels[0]))


def test_inference(trained, tmp_path, drill):
    count = 3000 if FULL else 80
    for number in range(8):
        write_png(tmp_path / f'{number}.png', np.random.default_rng(number).integers(0, 255, (32, 32, 3), np.uint8))
    assert wait(fork(infer, trained, tmp_path, count), 3600) == 0
    growth = float((tmp_path / 'growth').read_text())
    drill(f'memory flat over {count} images of infer.py', growth < 0.02 * count + 8)


@pytest.mark.skipif(not FULL, reason='a minute, and three gigabytes on the disk')
def test_a_photograph_of_108_megapixels(root_dir, tmp_path, drill):
    """Six tasks, panels and raw maps, by the command, in a process of its own."""
    config = str(root_dir / 'configs/taskdiffusion/vitt_diorama.py')
    torch.save(dict(state_dict=apis.init_model(config).state_dict()), tmp_path / 'a.pth')
    small = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    cv2.imwrite(str(tmp_path / 'a.jpg'), cv2.resize(small, (12000, 9000), interpolation=cv2.INTER_CUBIC))
    words = ['infer', config, str(tmp_path / 'a.pth'), str(tmp_path / 'a.jpg'), '--out', str(tmp_path / 'out')]
    process = subprocess.Popen([sys.executable, '-m', 'mmmtl', *words])
    _, status, used = os.wait4(process.pid, 0)
    drill('a photograph of 108 megapixels within 4 GB', status == 0 and used.ru_maxrss * 1024 < 4e9)
