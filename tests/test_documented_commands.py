"""The commands that stand in README and docs are run as they stand there, on a small network in place of the large one."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest

from mmmtl.commands.main import main
from mmmtl.utils.files import write_png
from tests.test_docs import tool_calls

ROOT = Path(__file__).resolve().parents[1]
CONFIG, RUN = 'configs/taskdiffusion/vitt_diorama.py', 'work_dirs/taskdiffusion/vitt_diorama'
SMALL = f"""
_base_ = [{str(ROOT / CONFIG)!r}]
max_iters = 2
batch_size = 2
crop_size = (32, 32)
loader = dict(num_workers=0, persistent_workers=False)
train_dataloader = dict(loader, dataset=dict(length=4))
val_dataloader = dict(loader, batch_size=2, dataset=dict(length=4))
test_dataloader = dict(loader, batch_size=2, dataset=dict(length=4))
model = dict(backbone=dict(embed_dim=24, depth=4, num_heads=2), neck=dict(channels=12), decoder=dict(steps=1))
"""
STAND_INS = {
    'mmmtl::taskdiffusion/vitt_diorama': CONFIG,
    'CONFIG': CONFIG,
    'CHECKPOINT': f'{RUN}/iter_800.pth',
    'max_iters=200': 'max_iters=4',
    'RUN_A': 'work_dirs/run_a',
    'RUN_B': 'work_dirs/run_b',
    'A_SEED_1,A_SEED_2': 'work_dirs/run_a,work_dirs/seed_1',
    'B_SEED_1,B_SEED_2': 'work_dirs/run_b,work_dirs/seed_2',
}
RUNS = 'run_a run_b multi mine seed_1 seed_2 single_semseg single_depth stl_semseg stl_depth'.split()
TRIED = 'test infer publish browse logs show list side-by-side compare delta-m eval-predictions predict pack'.split()
OTHERS = 'vitl_pascal pascal_ camvid stablemtl r18_ walk.mp4 camera: optical_flow labels/train.py s3:// --push'.split()
"""Lines that need what is not made here."""


def lines(*commands: str) -> list[tuple[str, ...]]:
    """Documented lines of these commands as words, each once, with stand-ins for what the reader puts in."""
    found = []
    for name, line in tool_calls():
        if name in commands and not any(word in line for word in OTHERS) and not set(line) & set('<>{}$'):
            found.append((name, *(STAND_INS.get(word, word) for word in shlex.split(line))))
    return list(dict.fromkeys(found))


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A folder like the repository's root, with photographs, one finished training, and results of several runs."""
    place = tmp_path_factory.mktemp('documented')
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        Path(CONFIG).parent.mkdir(parents=True)
        Path(CONFIG).write_text(SMALL)
        Path('my_config.py').write_text(SMALL)
        for name in (
            'photograph.png',
            'photograph.jpg',
            'my_photographs/a.png',
            'data/photographs/b.png',
            'frames/1.png',
            'photographs/c.png',
        ):
            write_png(name, np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8))
        main(['train', CONFIG])
        for run in (RUN, 'work_dirs/two', 'work_dirs/first'):
            Path(run).mkdir(exist_ok=True)
            shutil.copy(f'{RUN}/iter_2.pth', f'{run}/iter_800.pth')
        main(['test', CONFIG, f'{RUN}/iter_800.pth', '--out', 'PREDICTIONS'])
        for run in RUNS:
            shutil.copytree(RUN, f'work_dirs/{run}')
            shutil.copytree('PREDICTIONS', f'work_dirs/{run}/predictions')
        for name in ('mine/iter_200.pth', 'run/iter_8000.pth', 'other/iter_800.pth'):
            Path('work_dirs', name).parent.mkdir(exist_ok=True)
            shutil.copy(f'{RUN}/iter_2.pth', f'work_dirs/{name}')
        main(['pack', CONFIG, f'{RUN}/iter_800.pth', 'work_dirs/net'])
        yield place


@pytest.mark.slow
@pytest.mark.parametrize('command', TRIED)
def test_documented_lines_run(folder, command):
    tried = lines(command)
    assert tried
    for words in tried:
        try:
            main(list(words))
        except SystemExit as end:
            assert not end.code, words


@pytest.mark.slow
def test_documented_trainings_run(folder):
    for words in lines('train'):
        main([*words, *([] if '--resume' in words else ['--overwrite'])])
