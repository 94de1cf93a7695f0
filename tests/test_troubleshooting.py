"""docs/troubleshooting.md: every mistake it shows is made here, and what is printed is what the page says."""

from __future__ import annotations

import re
import runpy
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / 'docs' / 'troubleshooting.md'

CONFIG = """
_base_ = ['mmmtl::_base_/default_runtime.py', 'mmmtl::_base_/schedules/small.py']
data_root = 'my_data'
size = (32, 32)
tasks = dict(
    semseg=dict(type='SemanticSegmentation', classes=['road', 'house', 'tree', 'sky']),
    depth=dict(type='Depth'))
formats = dict(depth=dict(scale=0.001))
train_pipeline = [dict(type='RandomCrop', size=size), dict(type='PackMTLInputs')]
train_dataloader = dict(
    batch_size=2, num_workers=0, sampler=dict(type='ResumableSampler'),
    dataset=dict(type='FolderDataset', data_root=data_root, split_file='train.txt', tasks=tasks, formats=formats,
                 pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=1, num_workers=0, sampler=dict(type='ExactSampler'),
    dataset=dict(type='FolderDataset', data_root=data_root, split_file='val.txt', tasks=tasks, formats=formats,
                 pipeline=[dict(type='PackMTLInputs')], test_mode=True))
test_dataloader = val_dataloader
val_evaluator = dict(type='MultiTaskMetric')
test_evaluator = val_evaluator
model = dict(
    type='MultiTaskModel', tasks=tasks,
    backbone=dict(type='TimmBackbone', model_name='vit_tiny_patch16_224', img_size=size, patch_size=8, embed_dim=24,
                  depth=2, num_heads=2, out_indices=(0, 1)),
    neck=dict(type='LevelProjection', channels=12),
    decoder=dict(type='PlainDecoder', channels=12, num_blocks=1))
"""


def write_data(root: Path, label_width: int = 40, label_name: str = '{}.png') -> None:
    """Four photographs of 32x40 with classes 0 to 3 and depth in millimetres."""
    rng = np.random.default_rng(0)
    for k in range(4):
        for folder, array, name in (
            ('images', rng.integers(0, 256, (32, 40, 3), np.uint8), f'{k}.jpg'),
            ('semseg', rng.integers(0, 4, (32, label_width)).astype(np.uint8), label_name.format(k)),
            ('depth', rng.integers(1500, 1900, (32, 40)).astype(np.uint16), f'{k}.png'),
        ):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / name)
    (root / 'train.txt').write_text('0\n1\n2\n')
    (root / 'val.txt').write_text('3\n')


@pytest.fixture(scope='module')
def workspace(tmp_path_factory) -> Path:
    """A person's folder: a config, data, data with faults, and a work dir of a short run."""
    folder = tmp_path_factory.mktemp('person')
    (folder / 'my_config.py').write_text(CONFIG)
    write_data(folder / 'my_data')
    write_data(folder / 'wrong_size', label_width=39)
    write_data(folder / 'misnamed', label_name='{}_mask.png')
    (folder / 'photos').mkdir()
    (folder / 'photos' / 'a.jpg').write_bytes((folder / 'my_data/images/0.jpg').read_bytes())
    (folder / 'photos' / 'b.jpg').write_bytes(b'<html>404</html>')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run(patch, 'tools/train.py my_config.py --work-dir work --cfg-options max_iters=2')
    return folder


def run(monkeypatch, line: str) -> None:
    """Run a tool in this process."""
    tool, *arguments = shlex.split(line)
    monkeypatch.setattr(sys, 'argv', [tool, *arguments])
    for name in ('RANK', 'WORLD_SIZE', 'LOCAL_RANK'):
        monkeypatch.delenv(name, raising=False)
    runpy.run_path(str(ROOT / tool), run_name='__main__')


def shown() -> list[tuple[str, str]]:
    """``(command, what it prints)`` of the page's blocks that begin with a command."""
    blocks = re.findall(
        r'^```text\n\$ python (tools/.*?)\n(.*?)^```', PAGE.read_text('utf-8'), re.MULTILINE | re.DOTALL
    )
    return [(command, ' '.join(text.split())) for command, text in blocks]


def test_the_page_shows_twenty_mistakes():
    assert len(shown()) >= 20 and len(re.findall(r'^### ', PAGE.read_text('utf-8'), re.MULTILINE)) >= 20


@pytest.mark.parametrize('command, text', shown(), ids=[command for command, _ in shown()])
def test_what_is_printed_is_what_the_page_says(monkeypatch, capfd, workspace, command, text):
    monkeypatch.chdir(workspace)
    try:
        run(monkeypatch, command)
    except SystemExit:
        pass
    out = capfd.readouterr()
    printed = ' '.join((out.out + out.err).replace(str(workspace) + '/', '').split())
    place = 0
    for part in text.split(' … '):  # elided
        place = printed.find(part.strip(' …'), place)
        assert place >= 0, f'{part}\n\nis not printed:\n{printed[-1500:]}'
