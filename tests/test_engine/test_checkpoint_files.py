"""Checkpoint files: whole or absent whatever happens, damage found, objects kept out."""

from __future__ import annotations

import io
import itertools
import multiprocessing
import os
import subprocess
import sys
import time
from collections import OrderedDict

import numpy as np
import pytest
import torch
from mmengine.fileio import get_file_backend
from mmengine.logging import HistoryBuffer

from mmmtl.engine.checkpoint_files import find_corruption, newest_first, plain, remove_partial, saved_checkpoints
from mmmtl.errors import ConfigError
from mmmtl.utils.files import write_atomically


@pytest.fixture()
def checkpoint(tmp_path):
    path = tmp_path / 'iter_3.pth'
    torch.save(dict(weight=torch.arange(5000.0), meta=dict(iter=3)), path)
    return path


def test_write_replaces_the_whole_file(tmp_path):
    path = tmp_path / 'new' / 'file'
    write_atomically(path, b'old')
    write_atomically(path, b'new and longer')
    assert path.read_bytes() == b'new and longer' and os.listdir(path.parent) == ['file']


def test_backend_writes_through_it(tmp_path, monkeypatch):
    backend = get_file_backend(backend_args=dict(backend='AtomicLocalBackend'))
    backend.put(b'bytes', tmp_path / 'a')
    backend.put_text('täxt', tmp_path / 'b')
    assert (tmp_path / 'a').read_bytes() == b'bytes' and (tmp_path / 'b').read_text(encoding='utf-8') == 'täxt'
    monkeypatch.setattr(os, 'replace', lambda *_: (_ for _ in ()).throw(OSError(28, 'No space left on device')))
    with pytest.raises(OSError, match=r'cannot write .*/a \(0.0 MiB\): No space left.*previous file is untouched'):
        backend.put(b'more', tmp_path / 'a')
    assert (tmp_path / 'a').read_bytes() == b'bytes' and sorted(os.listdir(tmp_path)) == ['a', 'b']


LIMITED = """
import resource, signal, sys
from mmmtl.utils.files import write_atomically
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    write_atomically(sys.argv[1], b'x' * (1 << 20))
except OSError as error:
    print(error)
    sys.exit(7)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='limits the size of files')
def test_a_full_disk_leaves_the_old_file(checkpoint, root_dir):
    """A real refusal by the kernel in the middle of the write, not a mock."""
    before = checkpoint.read_bytes()
    done = subprocess.run([sys.executable, '-c', LIMITED, checkpoint], cwd=root_dir, capture_output=True, text=True)
    assert done.returncode == 7, done.stderr
    assert f'cannot write {checkpoint} (1.0 MiB)' in done.stdout
    assert checkpoint.read_bytes() == before and find_corruption(checkpoint) is None
    assert os.listdir(checkpoint.parent) == [checkpoint.name]


def save_for_ever(path, steps) -> None:
    """Save step after step; tell each one that is done."""
    for step in itertools.count(1):
        buffer = io.BytesIO()
        torch.save(dict(step=step, weight=torch.full((1 << 20,), float(step))), buffer)
        write_atomically(path, buffer.getvalue())
        steps.send_bytes(str(step).encode())


@pytest.mark.skipif(not hasattr(os, 'fork'), reason='needs fork and SIGKILL')
def test_killed_at_any_moment(tmp_path):
    """SIGKILL in the middle of saving, again and again: what is under the name always loads, and is the latest."""
    path, rng, context = tmp_path / 'iter_1.pth', np.random.default_rng(0), multiprocessing.get_context('fork')
    partial = 0
    for _ in range(20):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=save_for_ever, args=(path, sender))
        process.start()
        sender.close()
        done = int(receiver.recv_bytes())
        time.sleep(rng.uniform(0.0, 0.05))
        process.kill()
        process.join()
        while receiver.poll():
            try:
                done = int(receiver.recv_bytes())
            except EOFError:
                break
        assert find_corruption(path) is None
        loaded = torch.load(path)
        assert loaded['step'] in (done, done + 1) and bool((loaded['weight'] == loaded['step']).all())
        partial += len(remove_partial(tmp_path))
        assert os.listdir(tmp_path) == ['iter_1.pth']
    assert partial > 0  # some kills did come in the middle of a write


class TestDamage:
    def test_whole(self, checkpoint):
        assert find_corruption(checkpoint) is None

    @pytest.mark.parametrize('keep', [0, 10, 0.5, 0.99])
    def test_truncated(self, checkpoint, keep):
        data = checkpoint.read_bytes()
        checkpoint.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
        assert ('is empty' if keep == 0 else 'truncated') in find_corruption(checkpoint)

    def test_any_flipped_bit_in_the_contents(self, checkpoint):
        data = bytearray(checkpoint.read_bytes())
        start = bytes(data).index(np.arange(100, 110, dtype=np.float32).tobytes())
        data[start + 7] ^= 4
        checkpoint.write_bytes(data)
        assert 'does not match its checksum' in find_corruption(checkpoint)

    def test_absent(self, tmp_path):
        assert find_corruption(tmp_path / 'nothing.pth') == 'there is no such file'


def test_newest_first_counts_in_numbers(tmp_path):
    for name in ('iter_9.pth', 'iter_100.pth', 'iter_20.pth', 'best_iter_300.pth', 'iter_x.pth', '.iter_500.pth.part'):
        (tmp_path / name).touch()
    assert [path.name for path in newest_first(tmp_path)] == ['iter_100.pth', 'iter_20.pth', 'iter_9.pth']
    assert newest_first(tmp_path / 'nowhere') == []
    assert newest_first(tmp_path, 'best_iter_{}.pth') == [tmp_path / 'best_iter_300.pth']
    (tmp_path / 'step_000020.pth').touch()
    assert newest_first(tmp_path, 'step_{:06d}.pth') == [tmp_path / 'step_000020.pth']
    with pytest.raises(ConfigError, match=r"filename_tmpl='last\.pth': expected one place for the step"):
        newest_first(tmp_path, 'last.pth')


@pytest.mark.parametrize(
    'hook, place',
    [
        (dict(type='AtomicCheckpointHook'), 'run/iter_4.pth'),
        (dict(type='AtomicCheckpointHook', out_dir='{}/out'), 'out/run/iter_4.pth'),
        (dict(type='CheckpointHook'), 'run/epoch_4.pth'),
        (dict(type='mmengine.CheckpointHook', by_epoch=False), 'run/iter_4.pth'),
    ],
)
def test_checkpoints_are_looked_for_where_they_are_saved(tmp_path, hook, place):
    hook = {key: value.format(tmp_path) if isinstance(value, str) else value for key, value in hook.items()}
    (tmp_path / place).parent.mkdir(parents=True)
    (tmp_path / place).touch()
    found = saved_checkpoints(dict(work_dir=str(tmp_path / 'run'), default_hooks=dict(checkpoint=hook)))
    assert found == [tmp_path / place]


def test_plain_keeps_data_and_names_objects(tmp_path):
    class Thing:
        pass

    value = dict(
        a=1,
        b=(2.5, None, 'x'),
        c=[Thing(), {Thing: 3}],
        d=np.eye(2),
        e=np.float32(3),
        f=OrderedDict(k=Thing()),
        g=torch.ones(2),
        h=np.array([Thing()]),
        i={1, 2},
        j=HistoryBuffer([1], [1]),
        k=frozenset('q'),
    )
    got = plain(value)
    assert got['a'] == 1 and got['b'] == (2.5, None, 'x') and got['i'] == {1, 2} and got['k'] == ['q']
    assert got['c'][0].endswith('Thing') and list(got['c'][1].values()) == [3]
    assert isinstance(got['f'], OrderedDict) and got['f']['k'].endswith('Thing') and got['h'] == 'numpy.ndarray'
    assert got['d'] is value['d'] and got['g'] is value['g'] and got['j'] is value['j']
    torch.save(got, tmp_path / 'file')
    assert torch.load(tmp_path / 'file', weights_only=True)['e'] == np.float32(3)
