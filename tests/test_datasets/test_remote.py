"""Files that are elsewhere: HTTP with faults, S3, mmengine's backends, the local cache, samples that stay unreadable."""

from __future__ import annotations

import multiprocessing
import os
import time

import numpy as np
import pytest

from mmmtl.analysis.collection import entries_of
from mmmtl.datasets import FolderDataset, IndexedDataset, ShardStream
from mmmtl.datasets.io.file_cache import FileCache, parse_size
from mmmtl.datasets.io.storage import Storage
from mmmtl.errors import ConfigError, LabelError, NotFoundError, UnreadableError
from mmmtl.registry import DATASETS
from mmmtl.utils.files import PARTIAL

from .faulty_server import serving
from .large_sets import assert_same_samples, folder_config, write_folder

FAST = dict(backoff=0.01, retries=3)


# ---- the cache -------------------------------------------------------------------------------------------------------
def test_what_was_not_used_for_longest_leaves_first(tmp_path):
    cache = FileCache(tmp_path, 10_000)
    for k in range(3):
        cache.put(str(k), bytes([k]) * 2500)
        os.utime(cache.path(str(k)), (k + 1, k + 1))
    assert cache.get('0') == bytes(2500)  # used now
    cache.put('3', b'3' * 2500)
    assert [cache.get(str(k)) is not None for k in range(4)] == [True, False, True, True]
    cache.put('large', b'x' * 20_000)
    assert cache.get('large') is None and cache.size() <= 10_000


def test_a_damaged_or_abandoned_file_counts_as_missing(tmp_path):
    cache = FileCache(tmp_path, 10_000)
    cache.put('a', b'content')
    cache.path('a').write_bytes(cache.path('a').read_bytes()[:-3])
    assert cache.get('a') is None
    left = cache.path('a').with_name(f'.x{PARTIAL}')
    left.write_bytes(bytes(5000))
    os.utime(left, (1, 1))
    for k in range(4):
        cache.put(str(k), bytes(2000))
    assert not left.exists() and cache.size() <= 10_000


def _fill(folder, number):
    cache = FileCache(folder, 40_000)
    for k in range(60):
        cache.put(f'{number} {k}', bytes([k]) * 3000)
        found = cache.get(f'{number} {k}')
        assert found is None or found == bytes([k]) * 3000


def test_processes_share_it(tmp_path):
    many = [multiprocessing.get_context('fork').Process(target=_fill, args=(tmp_path, n)) for n in range(3)]
    for process in many:
        process.start()
    for process in many:
        process.join(60)
    assert [p.exitcode for p in many] == [0, 0, 0] and FileCache(tmp_path, 1).size() <= 40_000


def test_sizes():
    assert [parse_size(s, 'x') for s in ('1GB', '2 GiB', 7, '1.5k')] == [10**9, 2 * 2**30, 7, 1500]
    for wrong in ('many', 0, '-1GB', True, '1 XB'):
        with pytest.raises(ConfigError, match='x: expected'):
            parse_size(wrong, 'x')


# ---- HTTP ------------------------------------------------------------------------------------------------------------
pytest.importorskip('fsspec', reason='remote files need fsspec')
pytest.importorskip('aiohttp', reason='files by HTTP need aiohttp')
pytest.importorskip('pyarrow', reason='indexes need pyarrow')
from mmmtl.datasets.preparation.indexing import make_index  # noqa: E402
from mmmtl.datasets.preparation.sharding import make_shards, verify_index  # noqa: E402


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with an index and its shards, served with faults; the config of the folder; the server."""
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'user_cache'))
    write_folder(tmp_path / 'www/data')
    config = folder_config(tmp_path / 'www/data')
    make_index(config, str(tmp_path / 'www/index.parquet'), progress=False)
    make_shards(config, str(tmp_path / 'www/shards'), 9000, progress=False)
    with serving(tmp_path / 'www') as server:
        yield server, config


def first_shard(server):
    """The first of the shards, as the server knows it."""
    return f'shards/{min((server.root / "shards").glob("*.tar")).name}'


def test_samples_by_http_are_those_of_the_files(site):
    server, config = site
    walked = DATASETS.build(dict(config, label_sampler=dict(type='OneLabel')))
    more = dict(backend_args=FAST, label_sampler=dict(type='OneLabel'))
    loose = IndexedDataset(f'{server.url}/index.parquet', config['tasks'], data_root=f'{server.url}/data', **more)
    shards = IndexedDataset(f'{server.url}/shards', config['tasks'], **more)
    for data in (loose, shards):
        assert data.labels == walked.labels
        for k in range(len(walked)):
            np.testing.assert_array_equal(data[k]['img'], walked[k]['img'])
            for task, label in walked[k]['gt'].items():
                np.testing.assert_array_equal(data[k]['gt'][task], label)
    server.requests.clear()
    members = shards.get_data_info(0)['members'].values()
    wanted = {(m.offset, m.size) for m in members if m.name.split('.')[1] in ('image', *shards.visible(0))}
    shards[0]
    assert {(first, size) for _, first, size in server.requests} == wanted and len(server.requests) == len(wanted)
    assert verify_index(f'{server.url}/shards', FAST) == []


def test_transfers_are_tried_again(site):
    server, config = site
    data = IndexedDataset(f'{server.url}/shards', config['tasks'], backend_args=FAST)
    expected = DATASETS.build(config)[0]
    shard = first_shard(server)
    server.faults[shard] = [503, 'cut', 'slow', 'cut', 500, 429]
    np.testing.assert_array_equal(data[0]['img'], expected['img'])
    assert server.faults[shard] == []


def test_a_timeout_is_a_fault_too(site):
    server, config = site
    storage = Storage(dict(timeout=0.2, retries=1, backoff=0.01))
    server.faults['data/images/photo0.jpg'] = ['slow']
    assert storage.read(f'{server.url}/data/images/photo0.jpg')[:2] == b'\xff\xd8'
    server.faults['data/images/photo0.jpg'] = ['slow'] * 2
    with pytest.raises(UnreadableError, match=r'photo0.jpg: could not be fetched in 2 attempts'):
        storage.read(f'{server.url}/data/images/photo0.jpg')


def test_what_stays_unreadable_is_named_counted_and_left_out_up_to_a_limit(site, caplog):
    server, config = site
    root, index = f'{server.url}/data', f'{server.url}/index.parquet'
    more = dict(data_root=root, backend_args=FAST)
    server.faults['data/images/photo1.jpg'] = [503] * 100
    with pytest.raises(UnreadableError, match=r'data/images/photo1.jpg: could not be fetched in 4 attempts'):
        IndexedDataset(index, config['tasks'], **more)[1]
    data = IndexedDataset(index, config['tasks'], max_unreadable=1, **more)
    assert data[1]['sample_id'] == 'photo2' and data[1]['sample_id'] == 'photo2' and data.unreadable.count == 1
    server.faults['data/semseg/photo3.png'] = [404] * 100
    with pytest.raises(
        UnreadableError, match=r"2 samples could not be read, max_unreadable allows 1.*'photo3'.*semseg/photo3"
    ):
        data[3]
    tested = IndexedDataset(index, config['tasks'], max_unreadable=5, test_mode=True, **more)
    with pytest.raises(UnreadableError, match='photo1.jpg'):
        tested[1]
    with pytest.raises(LabelError, match=r'semseg/photo3.png.*no such file'):
        tested[3]
    with pytest.raises(ConfigError, match='max_unreadable'):
        IndexedDataset(index, config['tasks'], max_unreadable=-1, **more)


def test_the_cache_spares_transfers(site, tmp_path):
    server, config = site
    more = dict(backend_args=dict(FAST, cache_dir=str(tmp_path / 'cache'), cache_size='1MB'))
    first = IndexedDataset(f'{server.url}/shards', config['tasks'], **more)[2]
    server.requests.clear()
    again = IndexedDataset(f'{server.url}/shards', config['tasks'], **more)[2]
    assert server.requests == [] or all('index.parquet' in path for path, _, _ in server.requests)
    np.testing.assert_array_equal(first['img'], again['img'])


def test_a_server_without_ranges_is_streamed(site):
    pytest.importorskip('webdataset', reason='streams of shards need webdataset')
    server, config = site
    server.ranges = False
    with pytest.raises(UnreadableError, match='does the server know ranges'):
        IndexedDataset(f'{server.url}/shards', config['tasks'], backend_args=dict(FAST, retries=0))[1]
    by_mmengine = dict(FAST, backend='http')
    for args in (FAST, by_mmengine):
        stream = ShardStream(f'{server.url}/shards', config['tasks'], backend_args=args)
        assert sorted(stream[k]['sample_id'] for k in range(5)) == [f'photo{k}' for k in range(5)]
    with pytest.raises(ConfigError, match="mmengine's backend 'http' reads whole files"):
        IndexedDataset(f'{server.url}/shards', config['tasks'], backend_args=by_mmengine)[0]


def test_backends_of_mmengine(site, tmp_path):
    server, config = site
    walked = DATASETS.build(config)
    by_http = IndexedDataset(
        f'{server.url}/index.parquet',
        config['tasks'],
        data_root=f'{server.url}/data',
        backend_args=dict(FAST, backend='http'),
    )
    assert_same_samples(walked, DATASETS.build(dict(config, backend_args=dict(backend='local'))))
    np.testing.assert_array_equal(by_http[0]['img'], walked[0]['img'])
    with pytest.raises(ConfigError, match="backend_args.backend: 'htpp' is not one of.*Did you mean 'http'"):
        DATASETS.build(dict(config, backend_args=dict(backend='htpp')))
    with pytest.raises(ConfigError, match='cannot list files: make an index'):
        DATASETS.build(dict(config, data_root=f'{server.url}/data', backend_args=dict(backend='http')))
    with pytest.raises(ConfigError, match='say cache_dir=FOLDER'):
        Storage(dict(cache_size='1GB'))
    with pytest.raises(ConfigError, match='backend_args.retries: expected a number'):
        Storage(dict(retries='often'))


# ---- any address of fsspec -------------------------------------------------------------------------------------------
def test_a_data_set_in_memory(tmp_path):
    """The whole walk over fsspec's file system in memory."""
    import fsspec

    write_folder(tmp_path / 'data')
    memory = fsspec.filesystem('memory')
    memory.put(str(tmp_path / 'data'), '/bucket/data', recursive=True)
    config = folder_config(tmp_path / 'data')
    data = FolderDataset(config['tasks'], 'memory://bucket/data', formats=config['formats'])
    assert Storage().glob('memory://bucket', 'data/depth/*0.png') == ['data/depth/photo0.png']
    assert Storage().glob('memory://bucket', 'nothing/*.png') == []
    walked = DATASETS.build(config)
    assert data.labels == walked.labels and data[0]['img_path'] == 'memory://bucket/data/images/photo0.jpg'
    for k in range(len(walked)):
        np.testing.assert_array_equal(data[k]['img'], walked[k]['img'])
        for task, label in walked[k]['gt'].items():
            np.testing.assert_array_equal(data[k]['gt'][task], label)


@pytest.mark.slow
def test_s3(tmp_path, monkeypatch):
    server_of = pytest.importorskip('moto.server', reason='the S3 server of the tests is moto')
    pytest.importorskip('s3fs', reason='s3:// needs s3fs')
    for name in ('AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'):
        monkeypatch.setenv(name, 'testing')
    monkeypatch.setenv('AWS_DEFAULT_REGION', 'us-east-1')
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'user_cache'))
    server = server_of.ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        args = dict(FAST, client_kwargs=dict(endpoint_url=f'http://{host}:{port}'))
        write_folder(tmp_path / 'data')
        config = folder_config(tmp_path / 'data')
        walked = DATASETS.build(config)
        storage = Storage(args)
        system, _ = storage.system('s3://bucket/data')
        system.mkdir('bucket')
        system.put(str(tmp_path / 'data'), 'bucket/data', recursive=True)
        assert_same_samples_but_paths(
            walked, DATASETS.build(dict(config, data_root='s3://bucket/data', backend_args=args))
        )
        make_shards(
            dict(config, data_root='s3://bucket/data', backend_args=args), 's3://bucket/shards', 9000, progress=False
        )
        shards = IndexedDataset('s3://bucket/shards', config['tasks'], backend_args=args)
        assert_same_samples_but_paths(walked, shards)
        assert verify_index('s3://bucket/shards', args) == []
        monkeypatch.setenv('AWS_ENDPOINT_URL', f'http://{host}:{port}')  # as mmmtl predict s3://bucket/shards finds it
        entries, count = entries_of(['s3://bucket/shards'], 1, config['tasks'])
        ids = [walked.get_data_info(k)['sample_id'] for k in range(len(walked))]
        assert count == len(walked) and [e.sample_id for e in entries] == ids
        with pytest.raises(NotFoundError, match='index s3://bucket/nothing/index.parquet: no such file'):
            entries_of(['s3://bucket/nothing'], 1, config['tasks'])
        make_shards(config, 's3://bucket/others', 9000, progress=False, backend_args=args)
        assert_same_samples_but_paths(walked, IndexedDataset('s3://bucket/others', config['tasks'], backend_args=args))
    finally:
        server.stop()


def assert_same_samples_but_paths(walked, data):
    assert data.labels == walked.labels
    for k in range(len(walked)):
        np.testing.assert_array_equal(data[k]['img'], walked[k]['img'])
        for task, label in walked[k]['gt'].items():
            np.testing.assert_array_equal(data[k]['gt'][task], label)


def test_delays_do_not_change_what_is_read(site):
    server, config = site
    data = IndexedDataset(f'{server.url}/shards', config['tasks'], backend_args=FAST)
    server.faults[first_shard(server)] = ['slow']
    start = time.monotonic()
    np.testing.assert_array_equal(data[0]['img'], DATASETS.build(config)[0]['img'])
    assert time.monotonic() - start > 0.4


def test_half_an_attempt_is_none():
    def fail():
        raise OSError('no')

    with pytest.raises(UnreadableError, match='in 2 attempts'):
        Storage(dict(retries=1.5, backoff=0)).again('x', fail)


def test_two_stores_of_the_same_addresses_share_a_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(Storage, '_fetch', lambda self, *a: str(self.options['client_kwargs']).encode())
    more = dict(cache_dir=str(tmp_path), secret='1')
    read = {url: Storage(dict(more, client_kwargs=url)).read('s3://bucket/a') for url in ('http://one', 'http://two')}
    assert read['http://one'] == b'http://one' and read['http://two'] == b'http://two'
