"""The cache of derived labels: verified by hash, whole or absent, safe when several processes fill it."""

from __future__ import annotations

import multiprocessing

import numpy as np
import pytest

from mmmtl.datasets.io.label_cache import LabelCache

LABEL = np.random.default_rng(0).integers(0, 7, (30, 40)).astype(np.uint8)


class Computer:
    def __init__(self, label=LABEL):
        self.calls, self.label = 0, label

    def __call__(self):
        self.calls += 1
        return self.label


@pytest.fixture
def source(tmp_path):
    path = tmp_path / 'source.mat'
    path.write_bytes(b'one')
    return str(path)


def test_computed_once(tmp_path, source):
    compute = Computer()
    for _ in range(3):
        cache = LabelCache(tmp_path / 'cache')
        np.testing.assert_array_equal(cache.get('parts 1', 'a/b', [source], compute), LABEL)
    assert compute.calls == 1


def test_another_source_or_recipe_is_computed_again(tmp_path, source):
    cache, compute = LabelCache(tmp_path / 'cache'), Computer()
    cache.get('parts 1', 'x', [source], compute)
    cache.get('parts 2', 'x', [source], compute)
    assert compute.calls == 2
    cache.get('parts 2', 'x', [source], compute)
    assert compute.calls == 2
    with open(source, 'wb') as file:
        file.write(b'two')
    cache.get('parts 2', 'x', [source], compute)
    assert compute.calls == 3


@pytest.mark.parametrize('damage', ['cut', 'flip', 'header', 'empty'])
def test_a_damaged_entry_is_made_again(tmp_path, source, damage):
    cache = LabelCache(tmp_path / 'cache')
    cache.get('parts 1', 'x', [source], Computer())
    path = cache.path('parts 1', 'x')
    content = bytearray(path.read_bytes())
    if damage == 'flip':
        content[-5] ^= 1
    path.write_bytes(dict(cut=content[:-7], flip=content, header=b'something else', empty=b'')[damage])
    compute = Computer()
    np.testing.assert_array_equal(cache.get('parts 1', 'x', [source], compute), LABEL)
    assert compute.calls == 1 and np.array_equal(cache.get('parts 1', 'x', [source], pytest.fail), LABEL)


def test_without_a_folder_nothing_is_kept(tmp_path, source):
    compute = Computer()
    for _ in range(2):
        LabelCache(None).get('parts 1', 'x', [source], compute)
    assert compute.calls == 2


def test_a_folder_that_cannot_be_written_warns_once(tmp_path, source):
    (tmp_path / 'cache').write_text('a file, not a folder')
    cache, compute = LabelCache(tmp_path / 'cache'), Computer()
    with pytest.warns(UserWarning, match='cannot be written') as seen:
        for name in 'abc':
            cache.get('parts 1', name, [source], compute)
    assert compute.calls == 3 and len(seen) == 1


def test_only_bytes_are_kept(tmp_path, source):
    with pytest.raises(TypeError, match='only uint8'):
        LabelCache(tmp_path).get('parts 1', 'x', [source], lambda: LABEL.astype(float))


def test_place_of_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'home'))
    assert LabelCache.beside(tmp_path, 'auto').folder == tmp_path / '.mmmtl_cache'
    assert LabelCache.beside(tmp_path, str(tmp_path / 'x')).folder == tmp_path / 'x'
    assert LabelCache.beside(tmp_path, None).folder is None
    monkeypatch.setattr('os.access', lambda path, mode: False)
    assert LabelCache.beside(tmp_path, 'auto').folder.parent == tmp_path / 'home' / 'mmmtl'


def fill(folder, source, start, failures):
    start.wait()
    cache = LabelCache(folder)
    for turn in range(40):
        for name in range(5):
            label = cache.get(f'parts {turn}', str(name), [source], lambda: (LABEL + name).astype(np.uint8))  # noqa: B023
            if not np.array_equal(label, (LABEL + name).astype(np.uint8)):
                failures.put((turn, name))


def test_two_processes_fill_it_at_once(tmp_path, source):
    """Both rewrite the same entries again and again: nobody ever reads a wrong or half-written one."""
    context = multiprocessing.get_context('fork')
    start, failures = context.Event(), context.Queue()
    workers = [context.Process(target=fill, args=(tmp_path / 'cache', source, start, failures)) for _ in range(2)]
    for worker in workers:
        worker.start()
    start.set()
    for worker in workers:
        worker.join(60)
        assert worker.exitcode == 0
    assert failures.empty()
    assert sorted(p.name for p in (tmp_path / 'cache').rglob('*') if p.is_file()) == [f'{k}.map' for k in range(5)]


def test_folders_below_home(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    assert LabelCache('~/cache').folder == tmp_path / 'cache'
    assert LabelCache.beside('~', 'auto').folder == tmp_path / '.mmmtl_cache'
