"""Indexes: the samples of the walk, decided on columns; refreshed, resumed, opened without their rows."""

from __future__ import annotations

import json
import os
import pickle
import random

import numpy as np
import pytest

from mmmtl.commands import main
from mmmtl.datasets import (
    CamVid,
    IndexedDataset,
    LabelMap,
    MixedDataset,
    MTLDataset,
    OneLabel,
    RandomLabels,
    label_columns,
    label_samplers,
)
from mmmtl.datasets.label_columns import IdColumn, set_type
from mmmtl.errors import ConfigError, FileError, NotFoundError
from mmmtl.registry import DATASETS

from .large_sets import SETS, assert_same_samples, folder_config, write_folder

SAMPLERS = [dict(type='OneLabel', seed=3), dict(type='RandomLabels', seed=2), dict(type='FullLabels')]


# ---- columns beside names --------------------------------------------------------------------------------------------
def one_label(available, tasks, seed):
    """The rule of ``OneLabel``, image after image."""
    rank = {i: stable_hash('one', seed, i) for i in available}
    order = sorted(tasks, key=lambda t: stable_hash('one-task', seed, t))
    filled, chosen = dict.fromkeys(tasks, 0), dict.fromkeys(available, ())
    for i in sorted(available, key=lambda i: (len(available[i]), rank[i], i)):
        candidates = [t for t in order if t in available[i]]
        if candidates:
            chosen[i] = (min(candidates, key=filled.__getitem__),)
            filled[chosen[i][0]] += 1
    return chosen


def random_labels(available, tasks, seed, low, high):
    """The rule of ``RandomLabels``, image after image."""
    chosen = {}
    for i, existing in available.items():
        count = low + stable_hash('count', seed, i) % (high - low + 1)
        order = sorted(tasks, key=lambda t: stable_hash('random', seed, i, t))
        kept = [t for t in order[:count] if t in existing] or [t for t in order if t in existing][:1]
        chosen[i] = tuple(t for t in tasks if t in kept)
    return chosen


def stable_hash(*parts):
    return label_columns.stable_hash(*parts)


@pytest.mark.parametrize('collide', [False, True])
@pytest.mark.parametrize('seed', range(4))
def test_columns_decide_as_names_do(seed, collide, monkeypatch):
    """Random ids, tasks and missing labels; also with hashes of four bits, where everything is decided by ties."""
    if collide:
        one, each = label_columns.stable_hash, label_columns.stable_hashes
        monkeypatch.setattr(label_columns, 'stable_hash', lambda *parts: one(*parts) & 15)
        monkeypatch.setattr(label_columns, 'stable_hashes', lambda *parts: each(*parts) & np.uint64(15))
    rng = random.Random(seed)
    tasks = [f'task {k}' for k in range(rng.randint(1, 10))]
    ids = [''.join(rng.choices('abcé/_1ß中 ', k=rng.randint(1, 9))) + str(k) for k in range(200)]
    rng.shuffle(ids)
    share = rng.choice([0.2, 0.6, 1.0])
    available = {i: [t for t in tasks if rng.random() < share] for i in ids}
    sets = [sum(1 << k for k, t in enumerate(tasks) if t in available[i]) for i in ids]
    column = np.array(sets, set_type(len(tasks)))
    few, many = min(2, len(tasks)), min(3, len(tasks))
    for sampler, expected in (
        (OneLabel(seed), one_label(available, tasks, seed)),
        (RandomLabels(1, None, seed), random_labels(available, tasks, seed, 1, max(1, len(tasks) - 1))),
        (RandomLabels(2, 3, seed), random_labels(available, tasks, seed, few, many)),
        (label_samplers.FullLabels(), {i: tuple(kept) for i, kept in available.items()}),
    ):
        assert sampler.assign(available, tasks) == expected
        found = sampler.assign_columns(IdColumn.of(ids), column, tasks)
        assert found.dtype == column.dtype
        assert {i: tuple(t for k, t in enumerate(tasks) if s >> k & 1) for i, s in zip(ids, found.tolist())} == expected


def test_any_sampler_decides_on_columns(tmp_path):
    (tmp_path / 'map.json').write_text('{"a": ["x"], "b": [], "c": ["x", "y"]}')
    column = np.array([3, 3, 3], np.uint8)
    found = LabelMap(str(tmp_path / 'map.json')).assign_columns(IdColumn.of(['c', 'a', 'b']), column, ['x', 'y'])
    assert found.tolist() == [3, 1, 0]
    key = LabelMap(str(tmp_path / 'map.json')).key()
    (tmp_path / 'map.json').write_text('{"a": ["x"], "b": [], "c": ["x"]}')
    assert key and key != LabelMap(str(tmp_path / 'map.json')).key()


# ---- every shipped data set ------------------------------------------------------------------------------------------
arrow = pytest.importorskip('pyarrow', reason='indexes need pyarrow')
from mmmtl.datasets.index_file import VERSION, IndexFile, pack, unpack  # noqa: E402
from mmmtl.datasets.preparation import indexing  # noqa: E402
from mmmtl.datasets.preparation.indexing import make_index  # noqa: E402
from mmmtl.datasets.preparation.prepare import data_sets  # noqa: E402


def walk(config, **more):
    return DATASETS.build(dict(config, **more))


QUICK = ('folder', 'vkitti2', 'hypersim', 'mtan_streets')
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SETS]


@pytest.mark.parametrize('name', EVERY)
def test_samples_of_an_index_are_those_of_the_walk(name, tmp_path):
    write, config_of = SETS[name]
    write(tmp_path / 'data')
    config = config_of(tmp_path / 'data')
    path = str(tmp_path / 'index.parquet')
    about = make_index(config, path, progress=False)
    for sampler in SAMPLERS if name == 'folder' else SAMPLERS[:1]:
        more = dict(label_sampler=sampler, allow_unlabelled=True)
        assert_same_samples(walk(config, **more), IndexedDataset(path, config['tasks'], **more))
    assert about['rows'] == len(walk(config)) and os.path.exists(tmp_path / '.mmmtl_cache')


def test_generated_scenes_have_an_index(tmp_path):
    config = dict(type='Diorama', tasks=dict(depth=dict(type='Depth')), length=4, size=(24, 32))
    make_index(config, str(tmp_path / 'i.parquet'), progress=False)
    data = IndexedDataset(str(tmp_path / 'i.parquet'), config['tasks'])
    assert_same_samples(walk(config), data)
    assert data.metainfo['classes'] == walk(config).metainfo['classes']


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / 'data')
    config = folder_config(tmp_path / 'data')
    make_index(config, str(tmp_path / 'i.parquet'), progress=False)
    return config, str(tmp_path / 'i.parquet')


def test_parts_of_an_index(folder):
    config, path = folder
    for more in (dict(indices=2), dict(indices=[3, 0]), dict(indices=-2)):
        one, two = walk(config, **more), IndexedDataset(path, config['tasks'], **more)
        assert [one[k]['sample_id'] for k in range(2)] == [two[k]['sample_id'] for k in range(2)]
    more = dict(label_sampler=dict(type='OneLabel'), drop_unlabelled=True)
    only = dict(depth=config['tasks']['depth'])
    one = walk(dict(config, tasks=only), **more)
    two = IndexedDataset(path, only, **more)
    assert len(one) == len(two) == 4 and [one[k]['sample_id'] for k in range(4)] == [
        two[k]['sample_id'] for k in range(4)
    ]
    again = pickle.loads(pickle.dumps(two))
    assert [again[k]['sample_id'] for k in range(4)] == [two[k]['sample_id'] for k in range(4)]


def test_decisions_are_read_from_the_cache(folder, monkeypatch):
    config, path = folder
    first = IndexedDataset(path, config['tasks'], label_sampler=dict(type='OneLabel', seed=1)).labels
    monkeypatch.setattr(OneLabel, 'assign_columns', lambda *a: pytest.fail('decided again'))
    assert IndexedDataset(path, config['tasks'], label_sampler=dict(type='OneLabel', seed=1)).labels == first
    with pytest.raises(pytest.fail.Exception):
        IndexedDataset(path, config['tasks'], label_sampler=dict(type='OneLabel', seed=2))


def test_a_sampler_of_ones_own_is_asked_each_time(folder):
    config, path = folder

    class Mine(OneLabel):
        def _choose(self, available, tasks):
            return {i: kept[-1:] for i, kept in available.items()}

        assign_columns = label_samplers.LabelSampler.assign_columns

    more = dict(label_sampler=Mine(), allow_unlabelled=True)
    assert IndexedDataset(path, config['tasks'], **more).labels == walk(config, **more).labels


def test_several_indexes(tmp_path):
    for k in range(2):
        write_folder(tmp_path / f'd{k}', 3 + k)
        make_index(folder_config(tmp_path / f'd{k}'), str(tmp_path / f'{k}.parquet'), progress=False)
    tasks = folder_config(tmp_path)['tasks']
    both = IndexedDataset([dict(index=str(tmp_path / f'{k}.parquet'), weight=1 + 2 * k) for k in range(2)], tasks)
    walked = MixedDataset([walk(folder_config(tmp_path / f'd{k}')) for k in range(2)])
    assert isinstance(both, MixedDataset) and both.weights == [1, 3] and len(both) == 7
    assert [both[k]['sample_id'] for k in range(7)] == [walked[k]['sample_id'] for k in range(7)]
    several = dict(type='IndexedDataset', index=[str(tmp_path / f'{k}.parquet') for k in range(2)], tasks=tasks)
    assert [len(data) for _, data in data_sets(dict(test_dataloader=dict(dataset=several)), ['test'])] == [3, 4]
    with pytest.raises(ConfigError, match='every index a weight, or none'):
        IndexedDataset([dict(index='a', weight=1), 'b'], tasks)


def test_a_task_may_be_called_otherwise(folder):
    """Its label's format and its place in the cache go by the label."""
    config, path = folder
    renamed = IndexedDataset(path, dict(far=dict(type='Depth', source='depth')))
    np.testing.assert_array_equal(renamed[0]['gt']['far'], walk(config)[0]['gt']['depth'])


def test_indexes_of_other_labels_in_one_folder(tmp_path):
    write_folder(tmp_path / 'data', 2)
    for name in ('semseg', 'depth'):
        (tmp_path / 'data' / name / 'photo1.png').unlink(missing_ok=True)
        (tmp_path / 'data' / name / 'photo0.png').unlink(missing_ok=name == 'depth')
    everything = folder_config(tmp_path / 'data')
    for name, names in (('none', ('semseg',)), ('some', ('saliency',))):
        config = dict(everything, tasks={n: everything['tasks'][n] for n in names}, formats={})
        make_index(config, str(tmp_path / f'{name}.parquet'), progress=False)
    tasks = {n: everything['tasks'][n] for n in ('semseg', 'saliency')}
    for name, labels in (('none', ()), ('some', ('saliency',))):
        data = IndexedDataset(str(tmp_path / f'{name}.parquet'), tasks, allow_unlabelled=True)
        assert set(data.labels.values()) == {labels}


def test_what_the_data_set_checks_its_index_checks(tmp_path):
    write, config_of = SETS['camvid']
    write(tmp_path / 'data')
    config = config_of(tmp_path / 'data')
    make_index(config, str(tmp_path / 'i.parquet'), progress=False)
    turned = dict(semseg=dict(type='SemanticSegmentation', classes=list(CamVid.METAINFO['classes'])[::-1]))
    with pytest.raises(ConfigError, match='in another order'):
        IndexedDataset(str(tmp_path / 'i.parquet'), turned)
    data = IndexedDataset(
        str(tmp_path / 'i.parquet'), config['tasks'], test_mode=True, pipeline=[dict(type='RandomFlip')]
    )
    assert any('RandomFlip change the images at random' in remark for remark in data.remarks)
    assert data.metainfo['classes'] == CamVid.METAINFO['classes']


def test_the_folder_may_move(folder, tmp_path):
    config, path = folder
    (tmp_path / 'data').rename(tmp_path / 'elsewhere')
    data = IndexedDataset(path, config['tasks'], data_root=str(tmp_path / 'elsewhere'))
    assert data[0]['gt'] and str(tmp_path / 'elsewhere') in data[0]['img_path']


# ---- making it -------------------------------------------------------------------------------------------------------
def test_values_and_digests_are_refreshed_by_what_changed(tmp_path, monkeypatch):
    write_folder(tmp_path / 'data')
    config, path = folder_config(tmp_path / 'data'), str(tmp_path / 'i.parquet')
    looked = []
    plain = indexing._look_into
    monkeypatch.setattr(
        indexing, '_look_into', lambda s, info, *a: looked.append(info['sample_id']) or plain(s, info, *a)
    )
    make_index(config, path, values=True, digest=True, progress=False)
    assert len(looked) == 5
    first = {row['id']: row for row in arrow.parquet.read_table(path).to_pylist()}
    assert (first['photo0']['height'], first['photo0']['width']) == (24, 32)
    assert json.loads(first['photo0']['values'])['depth']['pixels'] == 24 * 32 and len(first['photo1']['digests']) == 3
    looked.clear()
    depth = tmp_path / 'data/depth/photo3.png'
    depth.write_bytes((tmp_path / 'data/depth/photo0.png').read_bytes())
    (tmp_path / 'data/semseg/photo4.png').unlink()
    make_index(config, path, values=True, digest=True, progress=False)
    assert looked == ['photo3', 'photo4']
    second = {row['id']: row for row in arrow.parquet.read_table(path).to_pylist()}
    assert second['photo0'] == first['photo0'] and second['photo3']['digests'] != first['photo3']['digests']
    assert not second['photo4']['label.semseg'] and first['photo4']['label.semseg']
    assert_same_samples(walk(config), IndexedDataset(path, config['tasks']))
    make_index(dict(config, formats=dict(depth=dict(scale=1.0))), path, values=True, digest=True, progress=False)
    third = {row['id']: row for row in arrow.parquet.read_table(path).to_pylist()}
    ends = [json.loads(rows['photo0']['values'])['depth']['high'] for rows in (second, third)]
    assert ends[1] == pytest.approx(1000 * ends[0])  # other formats, other values


def test_it_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    write_folder(tmp_path / 'data')
    config, path = folder_config(tmp_path / 'data'), str(tmp_path / 'i.parquet')
    monkeypatch.setattr(indexing, '_PART', 2)
    done, plain = [], indexing._make_part

    def killed(outputs, source, infos, **more):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(infos[0]['sample_id'])
        plain(outputs, source, infos, **more)

    monkeypatch.setattr(indexing, '_make_part', killed)
    with pytest.raises(KeyboardInterrupt):
        make_index(config, path, digest=True, progress=False)
    assert not os.path.exists(path) and len(os.listdir(f'{path}.parts')) == 2
    os.utime(tmp_path / 'data/images/photo0.jpg', (1, 1))  # changed since: its part is made again
    monkeypatch.setattr(
        indexing,
        '_make_part',
        lambda o, source, infos, **m: done.append(infos[0]['sample_id']) or plain(o, source, infos, **m),
    )
    make_index(config, path, digest=True, progress=False)
    assert done == ['photo0', 'photo2', 'photo0', 'photo4'] and not os.path.exists(f'{path}.parts')
    assert_same_samples(walk(config), IndexedDataset(path, config['tasks']))


def test_commands(tmp_path, capsys):
    write_folder(tmp_path / 'data')
    main(['index', str(tmp_path / 'data'), '--out', str(tmp_path / 'i.parquet'), '--digest'])
    told = capsys.readouterr().out
    assert '5 samples of FolderDataset with labels depth, saliency, semseg' in told
    assert 'are read as' not in told  # nobody has said what the labels are
    config = folder_config(tmp_path / 'data')
    assert_same_samples(
        walk(config),
        IndexedDataset(str(tmp_path / 'i.parquet'), config['tasks'], reader=dict(formats=config['formats'])),
    )
    with pytest.raises(SystemExit) as done:
        main(['verify', str(tmp_path / 'i.parquet')])
    assert done.value.code == 0
    (tmp_path / 'data/depth/photo0.png').write_bytes(b'something else')
    with pytest.raises(SystemExit) as done:
        main(['verify', str(tmp_path / 'i.parquet'), '--out', str(tmp_path / 'faults.json')])
    assert done.value.code == 1 and 'depth/photo0.png' in capsys.readouterr().out


def test_mistakes(tmp_path, folder):
    config, path = folder
    with pytest.raises(NotFoundError, match='mmmtl index'):
        IndexedDataset(str(tmp_path / 'none.parquet'), config['tasks'])
    (tmp_path / 'bad.parquet').write_bytes(b'PAR1')
    with pytest.raises(FileError, match='expected an index'):
        IndexedDataset(str(tmp_path / 'bad.parquet'), config['tasks'])
    with pytest.raises(ConfigError, match=r"the index says nothing of labels 'normals', only of \['depth'"):
        IndexedDataset(path, dict(normals=dict(type='SurfaceNormals')))
    with pytest.raises(ConfigError, match='single frame'):
        IndexedDataset(path, config['tasks'], frames=2)
    with pytest.raises(ConfigError, match='is an index already'):
        make_index(dict(type='IndexedDataset', index=path, tasks=config['tasks']), str(tmp_path / 'x.parquet'))

    class Forgetful(MTLDataset):
        def list_samples(self):
            self.table = {'a': 1}
            return [dict(sample_id='a', img_path='a.png')]

    with pytest.raises(ConfigError, match=r"leaves \['table'\] in the data set"):
        make_index(dict(type=Forgetful, tasks=dict(depth=dict(type='Depth'))), str(tmp_path / 'x.parquet'))


@pytest.mark.parametrize('sample_id', ['a', '0', 'dir/é "quoted"', 'x' * 300])
def test_descriptions_come_back(sample_id):
    info = dict(img_path=f'/root/images/{sample_id}.jpg', deep=dict(number=[0, 1, None], other='/root', same=sample_id))
    text = pack(info, sample_id, '/root')
    assert unpack(text, sample_id, '/root') == info
    assert unpack(text, sample_id, '/moved')['img_path'] == f'/moved/images/{sample_id}.jpg'


def test_texts_of_many_rows(tmp_path):
    """Rows beyond one batch, with descriptions that all differ and with ones that are alike."""
    n = 70_000
    for alike in (True, False):
        infos = [pack(dict(k=0 if alike else k), f's{k}', '') for k in range(n)]
        table = arrow.table(
            dict(
                id=[f's{k}' for k in range(n)],
                info=infos,
                files=['{}'] * n,
                **{'label.depth': [k % 2 == 0 for k in range(n)]},
            )
        )
        about = dict(version=VERSION, sources=['depth'], rows=n)
        path = str(tmp_path / f'{alike}.parquet')
        indexing.write_index(path, about, indexing.merged(iter([table[:50_000], table[50_000:]])), table.schema)
        from mmmtl.datasets.io.storage import Storage

        index = IndexFile(path, Storage())
        for row in (0, 49_999, 50_000, 65_536, n - 1):
            assert index.info(row, '') == dict(
                k=0 if alike else row, sample_id=f's{row}', available=('depth',) * (row % 2 == 0)
            )
        assert index.available(['other', 'depth']).tolist() == [2 * (k % 2 == 0) for k in range(n)]
