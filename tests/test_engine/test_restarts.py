"""A process that dies ends in a restart of all from the last whole checkpoint, as if nothing had happened."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.hooks import Hook
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from mmmtl.engine.work_dir import note_launch, restarted
from mmmtl.registry import HOOKS
from tests.distributed import launch as launch_command
from tests.test_engine.toy import config, train_rank
from tests.tiny_config import write_config


@HOOKS.register_module(force=True)
class DieOnceHook(Hook):
    """Kills the second process in its sixth iteration, the first time it comes by."""

    def __init__(self, marker: str):
        self.marker = Path(marker)

    def before_train_iter(self, runner: Any, batch_idx: int, data_batch: Any = None) -> None:
        if runner.rank == 1 and runner.iter == 5 and not self.marker.exists():
            self.marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)


def work(folder: str, **changes: Any) -> None:
    """What a process of a launch does."""
    torch.set_num_threads(1)
    again = restarted(folder)
    cfg = config(folder, 8, resume=again, **changes)
    Path(folder, f'{"again" if again else "first"}_{os.environ["RANK"]}').touch()
    train_rank(cfg)


def launch(folder: Path, restarts: int, **changes: Any) -> None:
    folder.mkdir()
    config_ = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id=folder.name,
        rdzv_backend='c10d',
        rdzv_endpoint='localhost:0',
        max_restarts=restarts,
        start_method='fork',
        monitor_interval=0.1,
    )
    elastic_launch(config_, work_with(changes))(str(folder))


def work_with(changes: dict) -> Any:
    return lambda folder: work(folder, **changes)


def test_a_killed_process_loses_no_sample_and_none_is_seen_twice(tmp_path, monkeypatch):
    """The run that lost a process ends with the weights of the one that did not."""
    monkeypatch.setenv('TORCH_DISABLE_SHARE_RDZV_TCP_STORE', '1')  # as tools/dist_train.sh does
    hooks = [dict(type='RandomStateHook'), dict(type='DieOnceHook', marker=str(tmp_path / 'died'))]
    launch(tmp_path / 'broken', 1, custom_hooks=hooks)
    assert (tmp_path / 'died').exists()
    assert {p.name for p in (tmp_path / 'broken').glob('*_[01]')} == {'first_0', 'first_1', 'again_0', 'again_1'}
    launch(tmp_path / 'whole', 0, custom_hooks=hooks)
    one, other = (
        torch.load(tmp_path / name / 'iter_8.pth', weights_only=True)['state_dict'] for name in ('broken', 'whole')
    )
    for name, value in one.items():
        assert torch.equal(value, other[name]), name


@pytest.mark.slow
def test_the_script_restarts(root_dir, tmp_path):
    """As above, started by tools/dist_train.sh: with a process that dies and without, the same weights."""
    path = write_config(tmp_path)
    with open(path, 'a') as file:
        file.write(
            "custom_imports = dict(imports=['tests.test_engine.test_restarts'])\nmax_iters = 8\n"
            "train_cfg = dict(type='ResumableTrainLoop', max_iters=8, val_interval=8)\n"
            "custom_hooks = [dict(type='RandomStateHook'), dict(type='DieOnceHook', marker='')]\n"
            "default_hooks['checkpoint']['interval'] = 2\n"
        )
    options = ['--cfg-options', f'custom_hooks.1.marker={tmp_path / "died"}']
    done = subprocess.run(
        ['bash', str(root_dir / 'tools/dist_train.sh'), path, '2', '--work-dir', str(tmp_path / 'broken'), *options],
        env=dict(os.environ, PYTHON=sys.executable, MAX_RESTARTS='1'),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert (tmp_path / 'died').exists()
    launch_command('train', path, '--work-dir', tmp_path / 'whole', *options)
    broken, whole = (
        torch.load(tmp_path / name / 'iter_8.pth', weights_only=True)['state_dict'] for name in ('broken', 'whole')
    )
    assert all(torch.equal(value, whole[key]) for key, value in broken.items())


def test_restarts_are_told_from_first_starts(tmp_path, monkeypatch):
    for name in ('TORCHELASTIC_RUN_ID', 'TORCHELASTIC_RESTART_COUNT'):
        monkeypatch.delenv(name, raising=False)
    note_launch(tmp_path)
    assert not restarted(tmp_path) and not list(tmp_path.iterdir())
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'none')  # what torchrun calls every launch without a rendezvous
    note_launch(tmp_path)
    assert not restarted(tmp_path)
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '1')
    assert restarted(tmp_path)
    monkeypatch.setenv('TORCHELASTIC_RESTART_COUNT', '0')  # a machine has come or gone
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'job-17')
    assert not restarted(tmp_path)
    note_launch(tmp_path)
    assert restarted(tmp_path)
    monkeypatch.setenv('TORCHELASTIC_RUN_ID', 'job-18')
    assert not restarted(tmp_path)


@pytest.mark.parametrize(
    'settings, words, absent',
    [
        (dict(MAX_RESTARTS='2'), ['--standalone', '--max_restarts=2'], '--rdzv'),
        (
            dict(NNODES='2:4', RDZV_ID='run', MASTER_ADDR='first', PORT='29600'),
            ['--nnodes=2:4', '--rdzv_backend=c10d', '--rdzv_id=run', '--rdzv_endpoint=first:29600'],
            '--node_rank',
        ),
        (
            dict(NNODES='2', MAX_RESTARTS='1', SLURM_JOB_ID='77', MASTER_ADDR='first'),
            ['--nnodes=2', '--rdzv_id=77', '--rdzv_endpoint=first:29500', '--max_restarts=1'],
            '--node_rank',
        ),
        (dict(NNODES='2', NODE_RANK='1', MASTER_ADDR='first'), ['--node_rank=1', '--max_restarts=0'], '--rdzv'),
    ],
)
def test_the_script_hands_torchrun_what_it_needs(root_dir, tmp_path, settings, words, absent):
    echo = tmp_path / 'python'
    echo.write_text('#!/usr/bin/env bash\necho "$@"\n')
    echo.chmod(0o755)
    kept = {k: v for k, v in os.environ.items() if k not in ('NNODES', 'MASTER_ADDR', 'PORT', 'MASTER_PORT')}
    done = subprocess.run(
        ['bash', str(root_dir / 'tools/dist_train.sh'), 'config.py', '2'],
        env={**kept, 'PYTHON': str(echo), **settings},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert all(word in done.stdout.split() for word in words) and absent not in done.stdout


def test_machines_that_come_and_go_need_a_name_of_the_launch(root_dir):
    kept = {k: v for k, v in os.environ.items() if k not in ('RDZV_ID', 'SLURM_JOB_ID')}
    done = subprocess.run(
        ['bash', str(root_dir / 'tools/dist_train.sh'), 'config.py', '2'],
        env={**kept, 'NNODES': '1:4'},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2 and 'set RDZV_ID' in done.stderr
