"""Nothing is written half; seeds and models come out the same everywhere."""

from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256

import numpy as np
import pytest
from mmengine.model import MMSeparateDistributedDataParallel
from torch import nn

from mmmtl.utils.files import safe_name, write_atomically, write_json, write_png
from mmmtl.utils.models import unwrap_model
from mmmtl.utils.seeding import seed_of, stable_hash


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path):
    path = tmp_path / 'sub' / 'a.txt'
    write_atomically(path, lambda f: f.write(b'old'))

    def fail(file):
        file.write(b'half')
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        write_atomically(path, fail)
    assert path.read_bytes() == b'old' and [p.name for p in path.parent.iterdir()] == ['a.txt']


def test_written_files_are_as_readable_as_any_other(tmp_path):
    (tmp_path / 'plain').write_text('x')
    write_atomically(str(tmp_path / 'ours'), lambda f: f.write(b'x'))
    assert (tmp_path / 'ours').stat().st_mode == (tmp_path / 'plain').stat().st_mode


def test_json_keeps_every_digit(tmp_path):
    values = {'a': 0.1 + 0.2, 'b': 1 / 3, 'c': math.pi * 1e-9}
    assert json.loads(open(write_json(str(tmp_path / 'm.json'), values)).read()) == values


def test_names_are_safe_and_do_not_collide():
    ids = [
        'a/b',
        'a_b',
        'a%2Fb',
        'a b',
        'ä',
        '../x',
        'a\\b',
        'a:b',
        '',
        '..',
        '.',
        'a\0b',
        '\udcff',
        '\ud800',
        'x' * 400,
        'x' * 401,
    ]
    names = [safe_name(i) for i in ids]
    assert len(set(names)) == len(ids) and not any(c in n for n in names for c in '/\\:')
    assert not any('\0' in n or n.startswith('.') or len(os.fsencode(n)) > 200 for n in names)
    assert safe_name('0001TP_008580') == '0001TP_008580'


def test_text_with_names_that_are_not_utf8_is_written(tmp_path):
    assert open(write_atomically(tmp_path / 'a.txt', 'a\udcff')).read() == 'a\\udcff'


def test_an_array_that_is_no_picture(tmp_path):
    with pytest.raises(Exception, match='PNG|channels'):
        write_png(str(tmp_path / 'a.png'), np.zeros((2, 2, 7), np.uint8))


def test_a_new_file_takes_the_rights_of_the_old_one_and_links_stay_links(tmp_path):
    (tmp_path / 'private').write_text('x')
    (tmp_path / 'private').chmod(0o600)
    (tmp_path / 'link').symlink_to(tmp_path / 'private')
    write_atomically(tmp_path / 'link', 'new')
    assert (tmp_path / 'link').is_symlink() and (tmp_path / 'private').read_text() == 'new'
    assert (tmp_path / 'private').stat().st_mode & 0o777 == 0o600


def test_long_names_and_many_writers_of_one_file(tmp_path):
    path = tmp_path / ('本' * 80 + '.json')
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_atomically(path, str(n) * 100000), range(8)))
    assert len(set(path.read_text())) == 1 and list(tmp_path.iterdir()) == [path]


def test_the_error_names_the_file(tmp_path):
    (tmp_path / 'file').write_text('x')
    with pytest.raises(OSError, match=r'cannot write .*file/a .*: (File exists|Not a directory)'):
        write_atomically(tmp_path / 'file' / 'a', b'x')
    (tmp_path / 'folder').mkdir()
    with pytest.raises(OSError, match=r'cannot write .*folder .*: Is a directory'):
        write_atomically(tmp_path / 'folder', b'x')
    assert sorted(p.name for p in tmp_path.iterdir()) == ['file', 'folder']


def test_seeds_do_not_move():
    assert stable_hash('a', 1) == int.from_bytes(sha256(b'a\x1f1').digest()[:8], 'little')
    assert seed_of('a', 1) == stable_hash('a', 1) >> 1 < 1 << 63


def test_the_network_in_its_wrappers():
    network = nn.Linear(2, 2)
    wrapped = MMSeparateDistributedDataParallel.__new__(MMSeparateDistributedDataParallel)
    nn.Module.__init__(wrapped)
    wrapped.module = network
    assert unwrap_model(wrapped) is unwrap_model(network) is network
