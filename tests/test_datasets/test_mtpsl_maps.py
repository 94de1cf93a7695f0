"""The published maps of partial labels: every form they come in, their counts, and that nothing in them is run."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from mmmtl.datasets import LabelMap, OneLabel, RandomLabels
from mmmtl.datasets.label_samplers import read_label_map
from mmmtl.datasets.preparation.mtpsl_maps import COLUMNS, check_counts, convert_label_map, read_published_map
from mmmtl.errors import FileError

PASCAL = ('semseg', 'human_parts', 'sal', 'normals', 'edge')


def pascal_ids(count=4998):
    return [np.str_(f'2008_{k:06d}') for k in range(count)]


def one_label_lists():
    """{task: ids} with the published counts 1000, 999, 1000, 1000, 999, ids in no order."""
    ids = pascal_ids()
    np.random.default_rng(0).shuffle(ids)
    cuts = np.cumsum([0, 1000, 999, 1000, 1000, 999])
    return {name: ids[a:b] for name, a, b in zip(PASCAL, cuts, cuts[1:])}


def write_pascal_npy(path):
    np.save(path, one_label_lists(), allow_pickle=True)


def write_pascal_pth(path):
    table = {}
    for column, ids in enumerate(one_label_lists().values()):
        for i in ids:
            table.setdefault(i, [0] * 5)[column] = 1
    torch.save(table, path)


def nyud_table(setting):
    if setting == 'onelabel':
        return torch.eye(3).repeat(265, 1)[torch.randperm(795, generator=torch.Generator().manual_seed(0))]
    singles, pairs = (132, 148, 125), (130, 130, 130)  # gives 392, 408, 385
    rows = [torch.eye(3)[k] for k in range(3) for _ in range(singles[k])]
    rows += [1 - torch.eye(3)[k] for k in range(3) for _ in range(pairs[k])]
    return torch.stack(rows)


@pytest.mark.parametrize('form', ['npy', 'pth', 'legacy'])
def test_pascal(tmp_path, form):
    path = tmp_path / ('onelabel.npy' if form == 'npy' else 'new_onelabel.pth')
    if form == 'npy':
        write_pascal_npy(path)
    elif form == 'pth':
        write_pascal_pth(path)
    else:
        write_pascal_pth(path)
        torch.save(torch.load(path, weights_only=False), path, _use_new_zipfile_serialization=False)
    line = convert_label_map(str(path), str(tmp_path / 'map.json'), 'pascal')
    assert 'setting onelabel' in line and 'human_parts 999' in line
    lists = one_label_lists()
    labels = read_label_map(tmp_path / 'map.json')
    assert len(labels) == 4998
    for ours, theirs in zip(COLUMNS['pascal'], PASCAL):
        assert {i for i, kept in labels.items() if kept == (ours,)} == set(map(str, lists[theirs]))


@pytest.mark.parametrize('setting', ['onelabel', 'random'])
@pytest.mark.parametrize('suffix', ['json', 'csv'])
def test_nyud(tmp_path, setting, suffix):
    table = nyud_table(setting)
    torch.save({'labels_weights': table}, tmp_path / 'm.pth')
    assert f'setting {setting}' in convert_label_map(str(tmp_path / 'm.pth'), str(tmp_path / f'm.{suffix}'), 'nyud')
    labels = read_label_map(tmp_path / f'm.{suffix}')
    for row in (0, 77, 794):
        assert labels[str(row)] == tuple(t for t, mark in zip(COLUMNS['nyud'], table[row]) if mark)
    # the sampler gives the same assignment to a data set with these ids
    available = {str(k): list(COLUMNS['nyud']) for k in range(795)}
    assert LabelMap(str(tmp_path / f'm.{suffix}')).assign(available, COLUMNS['nyud']) == labels


def test_cityscapes(tmp_path):
    table = torch.zeros(2975, 2)
    table[:1487, 0] = 1
    table[1487:, 1] = 1
    torch.save({'labels_weights': table}, tmp_path / 'm.pth')
    assert 'semseg 1487, depth 1488' in convert_label_map(
        str(tmp_path / 'm.pth'), str(tmp_path / 'm.json'), 'cityscapes'
    )


def test_our_own_draws_are_of_the_same_kind():
    """A one-label draw over the published sizes has the published counts; random draws have their shape."""
    for dataset, count in (('nyud', 795), ('cityscapes', 2975)):
        available = {str(k): list(COLUMNS[dataset]) for k in range(count)}
        labels = OneLabel().assign(available, COLUMNS[dataset])
        per_task = sorted(sum(t in kept for kept in labels.values()) for t in COLUMNS[dataset])
        assert per_task == {'nyud': [265] * 3, 'cityscapes': [1487, 1488]}[dataset]
    available = {str(k): list(COLUMNS['nyud']) for k in range(795)}
    sizes = {len(kept) for kept in RandomLabels().assign(available, COLUMNS['nyud']).values()}
    assert sizes == {1, 2}


def test_other_counts_are_refused_unless_asked_for(tmp_path):
    table = nyud_table('onelabel')
    table[0] = 1
    torch.save({'labels_weights': table}, tmp_path / 'm.pth')
    with pytest.raises(FileError, match=r'not those of a published one for nyud: expected onelabel: .*265.*any-counts'):
        convert_label_map(str(tmp_path / 'm.pth'), str(tmp_path / 'm.json'), 'nyud')
    assert not (tmp_path / 'm.json').exists()
    assert 'unchecked' in convert_label_map(str(tmp_path / 'm.pth'), str(tmp_path / 'm.json'), 'nyud', any_counts=True)
    with pytest.raises(FileError):
        check_counts({}, 'pascal')


class Evil:
    def __reduce__(self):
        return (__import__('os').system, ('touch pwned',))


@pytest.mark.parametrize('form', ['npy', 'pth', 'legacy'])
def test_nothing_in_a_pickle_is_run(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / ('m.npy' if form == 'npy' else 'm.pth')
    if form == 'npy':
        array = np.empty((), object)
        array[()] = {'semseg': Evil()}
        np.save(path, array, allow_pickle=True)
    else:
        torch.save({'labels_weights': Evil()}, path, _use_new_zipfile_serialization=form == 'pth')
    with pytest.raises(FileError, match=r'not loaded: .*system'):
        read_published_map(path, 'pascal')
    assert not (tmp_path / 'pwned').exists()


@pytest.mark.parametrize(
    'content, text',
    [
        ({'semseg': ['a']}, 'expected the tasks'),
        ({'a': [0, 1]}, "expected 5 marks of 0 or 1 .* found .0, 1. at 'a'"),
        ({'labels_weights': torch.ones(4, 3)}, 'expected 5 marks'),
        ([1, 2], 'found list'),
        ({}, 'found dict'),
    ],
)
def test_other_contents_are_named(tmp_path, content, text):
    torch.save(content, tmp_path / 'm.pth')
    with pytest.raises(FileError, match=rf'm\.pth: .*{text}'):
        read_published_map(tmp_path / 'm.pth', 'pascal')


def test_other_files_are_named(tmp_path):
    with pytest.raises(FileError, match='no such file'):
        read_published_map(tmp_path / 'gone.pth', 'nyud')
    np.save(tmp_path / 'numbers.npy', np.zeros(4))
    with pytest.raises(FileError, match='an array of float64'):
        read_published_map(tmp_path / 'numbers.npy', 'nyud')
    (tmp_path / 'junk.pth').write_bytes(b'junk' * 30)
    with pytest.raises(FileError, match='not loaded'):
        read_published_map(tmp_path / 'junk.pth', 'nyud')
    buffer = io.BytesIO()
    pickle.dump({'a': [1]}, buffer)
    (tmp_path / 'plain.npy').write_bytes(buffer.getvalue())
    with pytest.raises(FileError, match='not loaded'):
        read_published_map(tmp_path / 'plain.npy', 'nyud')


def test_the_command(tmp_path, root_dir):
    torch.save({'labels_weights': nyud_table('random')}, tmp_path / 'm.pth')
    command = [sys.executable, str(root_dir / 'tools/dataset_converters/mtpsl_label_maps.py')]
    done = subprocess.run(
        [*command, str(tmp_path / 'm.pth'), str(tmp_path / 'm.csv'), '--dataset', 'nyud'],
        capture_output=True,
        text=True,
        cwd=root_dir,
        timeout=120,
    )
    assert done.returncode == 0 and 'semseg 392, depth 408, normals 385' in done.stdout, done.stderr
    failed = subprocess.run(
        [*command, str(tmp_path / 'm.pth'), str(tmp_path / 'x.csv'), '--dataset', 'cityscapes'],
        capture_output=True,
        text=True,
        cwd=root_dir,
        timeout=120,
    )
    assert failed.returncode == 1 and 'expected 2 marks' in failed.stderr and 'Traceback' not in failed.stderr
