"""One run at a time in a work dir; no run over another one's checkpoints without being told to."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from mmmtl.engine.checkpoint_files import newest_first
from mmmtl.engine.work_dir import LOCK, BusyError, locked, settle
from mmmtl.errors import ConfigError

HOLD = """import sys, time
from mmmtl.engine.work_dir import locked
with locked(sys.argv[1]):
    print('held', flush=True)
    time.sleep(60)
"""


@pytest.fixture()
def holder(tmp_path, root_dir):
    process = subprocess.Popen(
        [sys.executable, '-c', HOLD, str(tmp_path)], stdout=subprocess.PIPE, cwd=root_dir, text=True
    )
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()
    process.wait()


def test_a_second_run_is_refused_and_a_dead_owner_replaced(tmp_path, holder):
    with pytest.raises(BusyError, match=rf'in use by process {holder.pid} on {socket.gethostname()} since 20\d\d-'):
        with locked(tmp_path):
            pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path):
        assert json.loads((tmp_path / LOCK).read_text())['pid'] == os.getpid()
    with locked(tmp_path):
        pass


def test_an_owner_on_another_host_counts_while_it_gives_signs_of_life(tmp_path, monkeypatch):
    owner = dict(host='elsewhere', pid=1, time='2026-01-01 00:00:00', job='7')
    (tmp_path / LOCK).write_text(json.dumps(owner))
    with pytest.raises(BusyError, match='process 1 on elsewhere since 2026-01-01'):
        with locked(tmp_path):
            pass
    monkeypatch.setenv('SLURM_JOB_ID', '7')  # the same job, put into the queue again
    with locked(tmp_path):
        pass
    monkeypatch.delenv('SLURM_JOB_ID')
    (tmp_path / LOCK).write_text(json.dumps(owner))
    os.utime(tmp_path / LOCK, (time.time() - 3600,) * 2)
    with locked(tmp_path):
        pass


@pytest.mark.parametrize('content', ['', '{', '[]', '{"pid": "x"}'])
def test_a_lock_without_sense_is_nobodys(tmp_path, content):
    (tmp_path / LOCK).write_text(content)
    with locked(tmp_path):
        pass


class TestSettle:
    def settle(self, folder, lr=1.0, resume=False, overwrite=False):
        settings = dict(optim=dict(lr=lr), work_dir='x', resume=resume)
        return settle(folder, settings, resume, overwrite, newest_first(folder))

    def test_other_settings_are_told(self, tmp_path):
        assert self.settle(tmp_path) is None
        (tmp_path / 'iter_4.pth').write_bytes(b'x')
        (tmp_path / 'last_checkpoint').write_text('iter_4.pth')
        with pytest.raises(
            ConfigError, match=r'iter_4\.pth of a run with other settings \(optim\.lr was 1\.0, is 2\.0\)'
        ):
            self.settle(tmp_path, 2.0)
        assert (tmp_path / 'iter_4.pth').exists()
        told = self.settle(tmp_path, 2.0, resume=True)
        assert 'goes on with other settings than before: optim.lr was 1.0, is 2.0' in told
        assert self.settle(tmp_path, 2.0, resume=True) is None and (tmp_path / 'iter_4.pth').exists()
        assert '1 checkpoints of an earlier run are deleted' in self.settle(tmp_path, 3.0, overwrite=True)
        assert not list(tmp_path.glob('*.pth')) and not (tmp_path / 'last_checkpoint').exists()

    def test_the_same_settings_put_it_aside(self, tmp_path):
        self.settle(tmp_path)
        (tmp_path / 'iter_4.pth').write_bytes(b'x')
        assert 'now lie in' in self.settle(tmp_path)
        assert [path.name for path in (tmp_path / 'earlier').rglob('*.pth')] == ['iter_4.pth']

    def test_unknown_settings_count_as_other_ones(self, tmp_path):
        (tmp_path / 'iter_4.pth').write_bytes(b'x')
        with pytest.raises(ConfigError, match='they are not known'):
            self.settle(tmp_path)
