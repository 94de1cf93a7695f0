"""Shards: the samples of the loose files, bit for bit; resumed, verified, read by webdataset; hidden labels unread."""

from __future__ import annotations

import json
import os
import tarfile

import numpy as np
import pytest
from torch.utils.data import DataLoader

from mmmtl.commands import main
from mmmtl.datasets import IndexedDataset, ShardStream
from mmmtl.engine import TaskIndex
from mmmtl.engine.samplers import ResumableSampler
from mmmtl.errors import ConfigError, FileError, LabelError
from mmmtl.registry import DATASETS
from tests.miniatures.streets import write_vkitti2

from .large_sets import SETS, assert_same_samples, folder_config, random_crop, write_folder

pytest.importorskip('pyarrow', reason='shards need pyarrow')
from mmmtl.datasets.preparation import sharding  # noqa: E402
from mmmtl.datasets.preparation.sharding import make_shards, verify_index  # noqa: E402

FEW = 9000
"""Bytes of a shard: two or three samples of the small folder."""


@pytest.mark.parametrize('name', SETS)
def test_samples_of_shards_are_those_of_the_files(name, tmp_path):
    write, config_of = SETS[name]
    write(tmp_path / 'data')
    config = config_of(tmp_path / 'data')
    more = dict(label_sampler=dict(type='OneLabel', seed=3), allow_unlabelled=True)
    walked = DATASETS.build(dict(config, **more))
    expected = [walked[k] for k in range(len(walked))]
    about = make_shards(config, str(tmp_path / 'shards'), FEW, progress=False)
    (tmp_path / 'data').rename(tmp_path / 'away')  # nothing but the shards is read
    data = IndexedDataset(str(tmp_path / 'shards'), config['tasks'], **more)
    assert data.labels == walked.labels and sum(s['samples'] for s in about['shards']) == len(expected)
    for one, k in zip(expected, range(len(data))):
        two = data[k]
        assert one['sample_id'] == two['sample_id'] and list(one['gt']) == list(two['gt'])
        np.testing.assert_array_equal(one['img'], two['img'])
        for task, label in one['gt'].items():
            np.testing.assert_array_equal(label, two['gt'][task])


def test_frames_that_nobody_wants_are_not_in_shards(tmp_path):
    """A label of one frame needs no second one, which the last frame of a sequence does not have."""
    write_vkitti2(tmp_path / 'data')
    config = dict(type='VKITTI2', data_root=str(tmp_path / 'data'), tasks=dict(depth=dict(type='Depth')))
    walked = DATASETS.build(config)
    make_shards(config, str(tmp_path / 'shards'), progress=False)
    (tmp_path / 'data').rename(tmp_path / 'away')
    data = IndexedDataset(str(tmp_path / 'shards'), config['tasks'])
    assert len(data) == len(walked) and 'depth' in data[len(data) - 1]['gt']
    assert not any('.image.1.' in str(member) for member in data.get_data_info(0)['members'].values())


@pytest.fixture
def folder(tmp_path):
    write_folder(tmp_path / 'data', 7)
    config = folder_config(tmp_path / 'data')
    make_shards(config, str(tmp_path / 'shards'), FEW, progress=False)
    return config, tmp_path / 'shards'


def first_shard(folder):
    """The first of the shards."""
    return min(folder.glob('shard-000000-*.tar'))


def epochs(data, start=0, count=14):
    """Two passes as a run loads them: ids, pictures and random numbers."""
    sampler = ResumableSampler(data, seed=5)
    sampler.set_start(start)
    loaded = iter(DataLoader(data, batch_size=1, sampler=sampler, collate_fn=lambda batch: batch[0]))
    return [
        (s['sample_id'], s['img'].tobytes(), s['noise'], tuple(sorted(s['gt']))) for s, _ in zip(loaded, range(count))
    ]


def test_two_epochs_equal_those_on_files_and_resume(folder):
    config, shards = folder
    more = dict(label_sampler=dict(type='RandomLabels', seed=1), pipeline=[random_crop], seed=9)
    files = epochs(DATASETS.build(dict(config, **more)))
    data = IndexedDataset(str(shards), config['tasks'], **more)
    assert epochs(data) == files and len(set(files)) == 14
    assert epochs(data, start=5, count=9) == files[5:]


def test_hidden_labels_are_not_read(folder, monkeypatch):
    config, shards = folder
    data = IndexedDataset(str(shards), config['tasks'], label_sampler=dict(type='OneLabel'))
    read = []
    plain = type(data.storage).read
    monkeypatch.setattr(
        type(data.storage), 'read', lambda s, p, o=0, n=None, *a: read.append(n) or plain(s, p, o, n, *a)
    )
    for k in range(len(data)):
        read.clear()
        members = data.get_data_info(k)['members']
        sizes = {m.name.split('.')[1]: m.size for m in members.values()}
        assert read == [] and data[k]['gt'] and read == [sizes['image'], sizes[data.visible(k)[0]]]


def test_it_goes_on_where_it_was_killed(tmp_path, monkeypatch):
    write_folder(tmp_path / 'data', 7)
    config, out = folder_config(tmp_path / 'data'), tmp_path / 'shards'
    made, plain = [], sharding._write_shard

    def killed(outputs, source, rows, name, **more):
        if len(made) == 2:
            raise KeyboardInterrupt
        made.append(name)
        plain(outputs, source, rows, name, **more)

    monkeypatch.setattr(sharding, '_write_shard', killed)
    with pytest.raises(KeyboardInterrupt):
        make_shards(config, str(out), FEW, progress=False)
    assert not (out / 'index.parquet').exists() and len(list(out.glob('*.tar'))) == 2
    first = {p.name: p.stat().st_mtime_ns for p in out.glob('*.tar')}
    monkeypatch.setattr(sharding, '_write_shard', plain)
    make_shards(config, str(out), FEW, progress=False)
    assert all((out / name).stat().st_mtime_ns == time for name, time in first.items())
    assert not list(out.glob('.*')) or {p.name for p in out.glob('.*')} <= {'.mmmtl_cache'}
    assert verify_index(str(out)) == []
    assert_same_samples(DATASETS.build(config), IndexedDataset(str(out), config['tasks']))


def test_an_index_never_meets_shards_of_another_content(folder, monkeypatch):
    config, shards = folder
    before = {p.name: p.read_bytes() for p in shards.glob('*.tar')}
    index = (shards / 'index.parquet').read_bytes()
    picture = shards.parent / 'data/depth/photo0.png'
    picture.write_bytes((shards.parent / 'data/depth/photo1.png').read_bytes())
    plain = sharding.write_index
    monkeypatch.setattr(sharding, 'write_index', lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        make_shards(config, str(shards), FEW, progress=False)
    assert (shards / 'index.parquet').read_bytes() == index
    assert all((shards / name).read_bytes() == content for name, content in before.items())
    monkeypatch.setattr(sharding, 'write_index', plain)
    make_shards(config, str(shards), FEW, progress=False)
    assert_same_samples(DATASETS.build(config), IndexedDataset(str(shards), config['tasks']))
    assert len(list(shards.glob('*.tar'))) == len(before) and verify_index(str(shards)) == []


def test_a_file_that_changes_meanwhile_is_named(tmp_path):
    write_folder(tmp_path / 'data', 3)
    config = folder_config(tmp_path / 'data')
    source = sharding.Source(config)
    rows = next(sharding._plan(source, 10**9))
    (tmp_path / 'data/depth/photo1.png').write_bytes(b'shorter')
    with pytest.raises(FileError, match='photo1.png: 7 bytes, there were'):
        sharding._write_shard(dict(rows=tmp_path / 'r'), source, rows, 'x.tar', str(tmp_path), source.dataset.storage)
    assert not (tmp_path / 'x.tar').exists() and not (tmp_path / 'r').exists()
    (tmp_path / 'data/images/photo1.jpg').unlink()
    source.samples = [dict(info, img_path=str(tmp_path / 'gone.jpg')) for info in source.samples]
    with pytest.raises(FileError, match='3 files are missing'):
        list(sharding._plan(source, 10**9))


def test_a_corrupt_shard_is_named_by_file_and_member(folder, tmp_path, capsys):
    config, shards = folder
    data = IndexedDataset(str(shards), config['tasks'])
    member = next(m for p, m in data.get_data_info(3)['members'].items() if 'depth' in p)
    content = bytearray((shards / os.path.basename(member.shard)).read_bytes())
    content[member.offset + member.size // 2] ^= 0xFF
    (shards / os.path.basename(member.shard)).write_bytes(content)
    with pytest.raises(SystemExit) as done:
        main(['verify', str(shards), '--out', str(tmp_path / 'faults.json')])
    assert done.value.code == 1
    said = capsys.readouterr().out
    assert f"{member.shard}, member photo3.depth.png (sample 'photo3'): expected the digest" in said
    assert '1 bad members' in said and json.loads((tmp_path / 'faults.json').read_text())[0]['member'] == member.name
    content[member.offset : member.offset + 8] = b'no png!!'
    (shards / os.path.basename(member.shard)).write_bytes(content)
    fresh = IndexedDataset(str(shards), config['tasks'])
    from mmmtl.datasets.io import addresses

    addresses._shards.files.clear()
    with pytest.raises(LabelError, match=r'shard-\d+-\w+\.tar, member photo3\.depth\.png at byte'):
        fresh[3]


def test_headers_and_ends_of_shards_are_verified(folder):
    _, shards = folder
    place = first_shard(shards)
    whole = place.read_bytes()
    place.write_bytes(whole[:100] + b'X' + whole[101:])
    assert 'what lies between them' in verify_index(str(shards))[0]['message']
    place.write_bytes(whole[:1500])
    faults = verify_index(str(shards))
    assert len(faults) > 1 and all(f['member'] and 'cut short' in f['message'] for f in faults)
    place.unlink()
    assert 'cannot be read' in verify_index(str(shards))[0]['message']


def test_the_layout_is_webdatasets(folder):
    wds = pytest.importorskip('webdataset', reason='reading shards by webdataset needs it')
    config, shards = folder
    urls = sorted(map(str, shards.glob('*.tar')))
    samples = list(wds.WebDataset(urls, shardshuffle=False))
    data = DATASETS.build(config)
    assert [s['__key__'] for s in samples] == [data.get_data_info(k)['sample_id'] for k in range(7)]
    for k, sample in enumerate(samples):
        info = data.get_data_info(k)
        for kind, path in dict(info['paths'], image=info['img_path']).items():
            with open(path, 'rb') as file:
                assert sample[f'{kind}{os.path.splitext(path)[1]}'] == file.read()
    with tarfile.open(urls[0]) as tar:
        assert tar.getnames()[0] == 'photo0.sample.json'


def test_a_stream_gives_every_sample(folder):
    pytest.importorskip('webdataset', reason='streams of shards need webdataset')
    config, shards = folder
    more = dict(label_sampler=dict(type='OneLabel', seed=1))
    walked = DATASETS.build(dict(config, **more))
    expected = {s['sample_id']: s for s in (walked[k] for k in range(7))}
    stream = ShardStream(str(shards), config['tasks'], shuffle=4, **more)
    assert len(stream) == 7
    seen = [stream[k] for k in range(14)]
    for one in seen:
        assert list(one['gt']) == list(expected[one['sample_id']]['gt'])
        np.testing.assert_array_equal(one['img'], expected[one['sample_id']]['img'])
    passes = [[s['sample_id'] for s in seen[k : k + 7]] for k in (0, 7)]
    assert all(sorted(p) == sorted(expected) for p in passes) and passes[0] != passes[1]
    later = ShardStream(str(shards), config['tasks'], shuffle=4, **more)  # as workers of the next epoch open it
    again = [later[TaskIndex(k, 7 + k)]['sample_id'] for k in range(7)]
    assert sorted(again) == sorted(expected) and again != passes[0]
    with pytest.raises(ConfigError, match='takes no indices: '):
        ShardStream(str(shards), config['tasks'], indices=3)
    with pytest.raises(ConfigError, match='takes no test_mode: a stream has no places and no end'):
        ShardStream(str(shards), config['tasks'], test_mode=True)
    with pytest.raises(ConfigError, match='cannot be asked for tasks'):
        stream[TaskIndex(0, 0, ('depth',))]


def test_command(tmp_path, capsys):
    config = tmp_path / 'config.py'
    write_folder(tmp_path / 'data')
    config.write_text(f'train_dataloader = dict(dataset={folder_config(tmp_path / "data")!r})\n')
    main(['shard', str(config), '--out', str(tmp_path / 'out'), '--size', '10kB'])
    assert '5 samples in' in capsys.readouterr().out
    assert len(IndexedDataset(str(tmp_path / 'out'), folder_config(tmp_path)['tasks'])) == 5
    with pytest.raises(ConfigError, match='has no files'):
        make_shards(
            dict(type='Diorama', tasks=dict(depth=dict(type='Depth')), length=2), str(tmp_path / 'x'), progress=False
        )
