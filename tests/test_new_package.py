"""``mmmtl new``: the packages it writes are found, their tests pass, and every decoder trains on what they register."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from mmmtl import apis
from mmmtl.commands import main
from mmmtl.config import load_config
from mmmtl.registry import DATASETS, MODELS, TASKS
from tests import test_configs
from tests.test_plugins import ARGUMENTS, NECKS, PAIRS, VIT, decoders

ROOT = Path(__file__).resolve().parents[1]
CLASSES = {'task': 'SurfaceHeat', 'dataset': 'WarmRooms', 'decoder': 'OneLook'}
NAMES = {'task': 'surface_heat', 'dataset': 'warm_rooms', 'decoder': 'one_look'}


@pytest.fixture(scope='module')
def package(tmp_path_factory):
    """A package with one of each kind, installed into a folder on the path; taken out again afterwards."""
    folder = tmp_path_factory.mktemp('new')
    for kind, name in NAMES.items():
        main(['new', kind, name, '--package', 'thermal', '--out', str(folder)])
    pip = [sys.executable, '-m', 'pip', 'install', '-q', '--no-deps', '--no-build-isolation', '--no-index']
    site = folder / 'site'
    subprocess.run([*pip, '--disable-pip-version-check', '--target', site, folder / 'thermal'], check=True)
    sys.path.insert(0, str(site))
    yield folder / 'thermal'
    sys.path.remove(str(site))
    for name in [n for n in sys.modules if n.partition('.')[0] == 'thermal']:
        sys.modules.pop(name)
    for registry in (TASKS, DATASETS, MODELS):
        for name in [n for n, c in registry.module_dict.items() if c.__module__.startswith('thermal')]:
            registry.module_dict.pop(name)


def test_its_own_tests_pass_and_it_is_well_formed(package):
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(package.parent / 'site'), str(ROOT)])}
    done = subprocess.run(
        [sys.executable, '-m', 'pytest', '-q', '-p', 'no:cacheprovider', package / 'tests'],
        cwd=package,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and '3 passed' in done.stdout, done.stdout[-3000:]
    check = [sys.executable, '-m', 'ruff', 'check', '--config', str(ROOT / 'ruff.toml'), '--extend-ignore', 'D']
    done = subprocess.run([*check, '--no-cache', package], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not [
        path
        for path in package.rglob('*.*')
        if path.suffix in ('.py', '.md', '.toml') and re.search(r'@\w+@', path.read_text())
    ]


def test_its_config_trains_as_it_stands(package, tmp_path):
    main(
        ['train', str(package / 'configs/surface_heat.py'), '--work-dir', str(tmp_path), '--cfg-options', 'max_iters=1']
    )
    assert (tmp_path / 'iter_1.pth').is_file() and CLASSES['task'] in TASKS.module_dict


OF_A_CONFIG = {  # decoders that want a backbone of their own: a config that has it
    'InvPTDecoder': 'invpt/vitl_pascal',
    'MLoREDecoder': 'mlore/vits_pascal',
    'MTINetDecoder': 'mtinet/r18_pascal_recon',
    'TSPDecoder': 'tsp/vitl_pascal',
    'TaskPrompterDecoder': 'taskprompter/vitb_pascal',
}


def network(decoder: str, tasks: dict) -> dict:
    """A small network with a decoder."""
    if decoder in OF_A_CONFIG:
        model = test_configs.shrink(load_config(f'mmmtl::{OF_A_CONFIG[decoder]}').model.to_dict())
        if 'tasks' in model['backbone']:
            model['backbone']['tasks'] = tasks
        return dict(model, tasks=tasks)
    neck = NECKS.get(decoder, [dict(type='LevelProjection', channels=12)])[0]
    own = dict(type=decoder, **ARGUMENTS.get(decoder, {}))
    return dict(type='MultiTaskModel', tasks=tasks, backbone=dict(VIT, img_size=(64, 64)), neck=neck, decoder=own)


@pytest.mark.parametrize('decoder', [*decoders(), CLASSES['decoder']])
def test_every_decoder_trains_a_step_on_the_new_task_and_data_set(package, tmp_path, monkeypatch, decoder):
    monkeypatch.setattr(test_configs, 'SIZE', (64, 64))
    cfg = load_config(package / 'configs/warm_rooms.py', dict(max_iters=1))
    tasks = dict(surface_heat=dict(type=CLASSES['task'], source='depth'))
    if decoder in PAIRS:
        tasks['depth'] = dict(type='Depth')
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.tasks = tasks
    cfg.model = network(decoder, tasks)
    runner = apis.train(cfg, str(tmp_path))
    assert runner.message_hub.get_scalar('train/loss_surface_heat').current() > 0
    trained, start = runner.model.state_dict(), apis.build_model(cfg).state_dict()
    assert any(not torch.equal(trained[k], start[k]) for k in start if k.startswith('decoder.'))


@pytest.mark.parametrize(
    ('kind', 'name', 'package_name', 'words'),
    [
        ('task', 'Surface-Heat', 'mine', 'must be a name of Python'),
        ('task', 'class', 'mine', 'must be a name of Python'),
        ('task', 'depth', 'mine', "a task 'Depth' already"),
        ('decoder', 'x', 'numpy', "a package 'numpy' already"),
        ('decoder', 'x', 'taken', 'is no package'),
    ],
)
def test_names_that_cannot_be(tmp_path, capsys, kind, name, package_name, words):
    (tmp_path / 'taken').mkdir()
    with pytest.raises(SystemExit) as end:
        main(['new', kind, name, '--package', package_name, '--out', str(tmp_path)])
    assert end.value.code == 1 and words in capsys.readouterr().err
    assert list(tmp_path.rglob('*.py')) == []


def test_files_that_are_there_stay(tmp_path, capsys):
    command = ['new', 'decoder', 'quick_look', '--package', 'mine', '--out', str(tmp_path)]
    main(command)
    with pytest.raises(SystemExit):
        main(command)
    assert 'is there already' in capsys.readouterr().err
