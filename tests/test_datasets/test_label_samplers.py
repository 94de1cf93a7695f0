"""Label samplers: counts, balance, determinism, label maps, and that a hidden label is never opened."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest

from mmmtl.datasets import FolderDataset, FullLabels, LabelMap, OneLabel, RandomLabels
from mmmtl.datasets.label_samplers import read_label_map, save_label_map
from mmmtl.errors import ConfigError

ONE = {'p': ('c',), 'q': ('a',), 'r': ('b',), 's': ('b',), 't': ('c',), 'u': ('a',)}
RANDOM = {'p': ('c',), 'q': ('a',), 'r': ('a', 'b'), 's': ('a', 'c'), 't': ('a',), 'u': ('b', 'c')}
FIVE = ['semseg', 'human_parts', 'saliency', 'normals', 'boundary']


def everything(count, tasks=FIVE):
    return {f'{2008 + i % 4}_{i:06d}': list(tasks) for i in range(count)}


def test_one_label_is_a_balanced_partition():
    labels = OneLabel(seed=1).assign(everything(4998), FIVE)
    counts = Counter(kept for kept in labels.values())
    assert sorted(counts.values()) == [999, 999, 1000, 1000, 1000] and all(len(k) == 1 for k in counts)


def test_one_label_balances_what_is_there():
    """Parts exist on a third of the images only: they go there first, everybody else shares the rest evenly."""
    available = everything(300)
    for i, kept in enumerate(available.values()):
        if i % 3:
            kept.remove('human_parts')
    labels = OneLabel().assign(available, FIVE)
    counts = Counter(kept[0] for kept in labels.values())
    assert sum(counts.values()) == 300 and max(counts.values()) - min(counts.values()) <= 2
    assert all(kept[0] in available[i] for i, kept in labels.items())


def test_random_labels_follow_the_published_distribution():
    labels = RandomLabels(seed=3).assign(everything(4998), FIVE)
    sizes = Counter(len(kept) for kept in labels.values())
    assert set(sizes) == {1, 2, 3, 4}
    # uniform over 1..4: 1249.5 each, standard deviation 30.6
    assert all(abs(n - 4998 / 4) < 5 * 30.6 for n in sizes.values())
    counts = Counter(t for kept in labels.values() for t in kept)
    assert all(abs(n - 4998 / 2) < 5 * 35.3 for n in counts.values())


def test_random_labels_leave_nobody_without():
    available = everything(200)
    for i, kept in enumerate(available.values()):
        if i % 2:
            kept[:] = ['boundary']
    labels = RandomLabels(seed=3).assign(available, FIVE)
    assert all(labels[i] == ('boundary',) for n, i in enumerate(available) if n % 2)
    assert all(kept for kept in labels.values())


@pytest.mark.parametrize('sampler', [FullLabels, OneLabel, RandomLabels])
def test_independent_of_the_order_of_samples(sampler):
    available = everything(101)
    shuffled = list(available.items())
    random.Random(0).shuffle(shuffled)
    assert sampler(seed=5).assign(available, FIVE) == sampler(seed=5).assign(dict(shuffled), FIVE)
    if sampler is not FullLabels:
        assert sampler(seed=5).assign(available, FIVE) != sampler(seed=6).assign(available, FIVE)


def test_draws_do_not_change_between_releases():
    """A split is a result: these values are part of the package's behaviour."""
    available = {i: ['a', 'b', 'c'] for i in 'pqrstu'}
    assert OneLabel(seed=0).assign(available, ['a', 'b', 'c']) == ONE
    assert RandomLabels(seed=0).assign(available, ['a', 'b', 'c']) == RANDOM


def test_random_labels_arguments():
    labels = RandomLabels(low=2, high=2).assign(everything(50), FIVE)
    assert {len(k) for k in labels.values()} == {2}
    assert {len(k) for k in RandomLabels().assign(everything(9, ['a']), ['a']).values()} == {1}
    with pytest.raises(ValueError, match='low=3, high=2'):
        RandomLabels(low=3, high=2)


# ---- maps ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('suffix', ['json', 'csv'])
def test_a_saved_map_replays_the_draw(tmp_path, suffix):
    available = everything(37)
    labels = RandomLabels(seed=2).assign(available, FIVE)
    save_label_map(labels, tmp_path / f'map.{suffix}', FIVE, dict(seed=2))
    assert read_label_map(tmp_path / f'map.{suffix}') == labels
    assert LabelMap(str(tmp_path / f'map.{suffix}')).assign(available, FIVE) == labels
    assert [p.name for p in tmp_path.iterdir()] == [f'map.{suffix}']  # nothing half written is left


def test_saved_map_carries_counts(tmp_path):
    save_label_map({'x': ('a',), 'y': ('a', 'b')}, tmp_path / 'm.json', ['a', 'b'], dict(seed=4))
    content = json.loads((tmp_path / 'm.json').read_text())
    assert content['counts'] == {'a': 2, 'b': 1} and content['seed'] == 4


def test_map_renames_and_fills(tmp_path):
    path = tmp_path / 'm.json'
    path.write_text(json.dumps({'x': ['edge'], 'y': ['edge', 'sal', 'other']}))
    available = {i: ['boundary', 'saliency'] for i in 'xyz'}
    sampler = LabelMap(path, missing='none', rename=dict(edge='boundary', sal='saliency'))
    assert sampler.assign(available, ['saliency', 'boundary']) == {
        'x': ('boundary',),
        'y': ('saliency', 'boundary'),
        'z': (),
    }
    assert LabelMap(path, 'full', rename=dict(edge='boundary')).assign(available, ['boundary'])['z'] == ('boundary',)


@pytest.mark.parametrize(
    'content, options, text',
    [
        ('{"x": ["a"], "y": ["a"]}', {}, r"1 of 3 samples.*'z'"),
        ('{"x": ["a"]', {}, 'no JSON'),
        ('{"x": ["a"], "x": []}', {}, "'x' occurs twice in it"),
        ('{"x": "a"}', {}, "sample 'x' should have a list"),
        ('[1]', {}, 'expected an object'),
        ('{"x": ["b"], "y": ["b"], "z": ["b"]}', {}, r'names none of the tasks'),
        ('{"x": ["a", "c"], "y": [], "z": []}', {}, r"grants sample 'x' the labels \['c'\]"),
        (None, {}, 'no such file'),
        ('{}', dict(missing='eror'), "Did you mean 'error'"),
    ],
)
def test_bad_maps_say_what_is_wrong(tmp_path, content, options, text):
    path = tmp_path / 'm.json'
    if content is not None:
        path.write_text(content)
    with pytest.raises((ValueError, FileNotFoundError), match=text):
        LabelMap(str(path), **options).assign({i: ['a'] for i in 'xyz'}, ['a', 'c'])


def test_bad_csv_names_the_line(tmp_path):
    path = tmp_path / 'm.csv'
    path.write_text('sample_id,a,b\nx,1,0\ny,1\n')
    with pytest.raises(ValueError, match=r'm\.csv, line 3: expected an id and 2 times 0 or 1'):
        read_label_map(path)
    path.write_text('id,a,b\n')
    with pytest.raises(ValueError, match='the first line should be'):
        read_label_map(path)


# ---- in a dataset --------------------------------------------------------------------------------------------------
def test_hidden_labels_are_never_opened(memory):
    tasks = dict(semseg=dict(type='SemanticSegmentation', classes=12), depth=dict(type='Depth'))
    data = memory(tasks, count=10, label_sampler=dict(type='OneLabel'))
    for k in range(10):
        data[k]
    assert sorted(data.opened) == sorted((i, kept[0]) for i, kept in data.labels.items())


def test_unreadable_hidden_files_do_no_harm(tmp_path, write_folder):
    """Every label file that the sampler hides is replaced by garbage; training reads the rest without noticing."""
    tasks = dict(semseg=dict(type='SemanticSegmentation', classes=5), depth=dict(type='Depth'))
    write_folder(tmp_path, 6)
    options = dict(tasks=tasks, data_root=str(tmp_path), label_sampler=dict(type='OneLabel', seed=1))
    data = FolderDataset(**options)
    for sample_id, kept in data.labels.items():
        for task in tasks:
            if task not in kept:
                next((tmp_path / task).glob(f'{sample_id}.*')).write_bytes(b'garbage')
    data = FolderDataset(**options)
    seen = Counter(name for k in range(len(data)) for name in data[k]['gt'])
    assert seen == {'semseg': 3, 'depth': 3}
    full = FolderDataset(tasks, str(tmp_path))
    with pytest.raises(ValueError, match='cannot be read'):
        [full[k] for k in range(len(full))]


def test_the_map_is_saved_beside_the_run(memory, tmp_path):
    tasks = dict(depth=dict(type='Depth'), shading=dict(type='Shading'))
    data = memory(
        tasks, label_sampler=dict(type='RandomLabels', seed=9), label_map_out=str(tmp_path / 'run' / 'labels.json')
    )
    again = memory(tasks, label_sampler=dict(type='LabelMap', path=str(tmp_path / 'run' / 'labels.json')))
    assert again.labels == data.labels


def test_a_task_without_any_label_is_an_error(memory):
    tasks = dict(depth=dict(type='Depth'), shading=dict(type='Shading'))
    has = {f'scene {i}': ('depth',) for i in range(8)}
    with pytest.raises(ConfigError, match=r"tasks\['shading'\]: not one of 8 samples is labelled.*allow_unlabelled"):
        memory(tasks, available=has)
    assert len(memory(tasks, available=has, allow_unlabelled=('shading',))) == 8
    odd = dict(depth=dict(type='Depth'), heat=dict(type='Shading', name='heat', source='shadng'))
    with pytest.raises(ConfigError, match="Did you mean 'shading'"):
        memory(odd)
