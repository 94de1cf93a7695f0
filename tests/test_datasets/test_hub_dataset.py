"""Tables of the ``datasets`` library: Parquet, what the library saved, formats, hidden columns, mistakes."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from mmmtl.datasets import HubDataset, MixedDataset
from mmmtl.errors import ConfigError, FileError, LabelError, NotFoundError

library = pytest.importorskip('datasets', reason="the library datasets is not installed: pip install 'mmmtl[hub]'")
pa = pytest.importorskip('pyarrow')
pytest.importorskip('pyarrow.parquet')

COUNT = 4
TASKS = dict(semseg=dict(type='SemanticSegmentation', classes=3), depth=dict(type='Depth'))
COLUMNS = dict(image='image', semseg='classes', depth='depth_map')


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(library.config, 'HF_DATASETS_CACHE', tmp_path / 'cache')


def encoded(array: np.ndarray, kind: str = 'PNG') -> bytes:
    data = io.BytesIO()
    Image.fromarray(array).save(data, kind)
    return data.getvalue()


def photograph(i: int) -> np.ndarray:
    return np.full((6, 8, 3), 40 * i, np.uint8)


def classes(i: int) -> np.ndarray:
    return np.full((6, 8), i % 3, np.uint8)


def depth(i: int) -> np.ndarray:
    return np.full((6, 8), 1000 * (i + 1), np.uint16)


@pytest.fixture
def parquet(tmp_path):
    """A Parquet file as any program could write it: structs of bytes and a path, no word of features."""
    cell = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
    rows = [[dict(bytes=encoded(make(i)), path=None) for i in range(COUNT)] for make in (photograph, classes, depth)]
    rows[2][3] = None
    table = pa.table({name: pa.array(cells, cell) for name, cells in zip(('image', 'classes', 'depth_map'), rows)})
    table = table.append_column('key', pa.array([f'room_{i}' for i in range(COUNT)]))
    (tmp_path / 'set').mkdir()
    pa.parquet.write_table(table, tmp_path / 'set' / 'train.parquet')
    return tmp_path / 'set' / 'train.parquet'


def make(path, **options) -> HubDataset:
    options = dict(tasks=TASKS, columns=COLUMNS, formats=dict(depth=dict(scale=0.001)), test_mode=True) | options
    return HubDataset(path=str(path), **options)


@pytest.mark.parametrize('whole', [True, False])
def test_parquet(parquet, whole):
    data = make(parquet if not whole else parquet.parent, id_column='key')
    assert len(data) == COUNT and data.get_data_info(1)['sample_id'] == 'room_1'
    sample = data.load_sample(1)
    assert (sample['img'] == photograph(1)).all() and (sample['gt']['semseg'] == 1).all()
    assert np.allclose(sample['gt']['depth'], 2.0) and sample['gt']['depth'].shape == (1, 6, 8)
    assert data.labels['room_3'] == ('semseg',), 'an empty cell is no label'


def test_joined_tables_keep_their_rows_apart(parquet):
    other = parquet.with_name('other.parquet')
    other.write_bytes(parquet.read_bytes())
    data = MixedDataset([make(path, test_mode=False) for path in (parquet, other)])
    assert len({data.get_data_info(k)['sample_id'] for k in range(len(data))}) == 2 * COUNT


def test_what_the_library_saved(tmp_path):
    rows = dict(
        image=[Image.fromarray(photograph(i)) for i in range(COUNT)],
        classes=[classes(i).tolist() for i in range(COUNT)],
        depth_map=[depth(i).astype(np.float32) / 1000 for i in range(COUNT)],
    )
    features = library.Features(
        image=library.Image(), classes=library.Array2D((6, 8), 'uint8'), depth_map=library.Array2D((6, 8), 'float32')
    )
    made = library.Dataset.from_dict(rows, features=features)
    made.select([2, 0]).save_to_disk(tmp_path / 'chosen')
    library.DatasetDict(val=made).save_to_disk(tmp_path / 'all')
    data = make(tmp_path / 'chosen', formats={})
    assert (data.load_sample(0)['img'] == photograph(2)).all() and (data.load_sample(0)['gt']['semseg'] == 2).all()
    assert np.allclose(make(tmp_path / 'all', split='val', formats={}).load_sample(3)['gt']['depth'], 4.0)
    with pytest.raises(NotFoundError, match="no split 'vla', it has .*Did you mean 'val'"):
        len(make(tmp_path / 'all', split='vla', formats={}))


def test_hidden_columns_are_not_decoded(parquet, monkeypatch):
    data = make(parquet, label_sampler=dict(type='OneLabel'), test_mode=False)
    read = []
    files = HubDataset._files
    monkeypatch.setattr(HubDataset, '_files', lambda self, key, row: read.append((key, row)) or files(self, key, row))
    for row in range(COUNT):
        data.load_sample(row)
    shown = {(task, row) for row in range(COUNT) for task in data.labels[data.get_data_info(row)['sample_id']]}
    assert len(shown) == COUNT and set(read) == shown | {('image', row) for row in range(COUNT)}


def test_a_hidden_cell_may_be_no_picture_at_all(parquet):
    table = pa.parquet.read_table(parquet)
    broken = pa.array([dict(bytes=b'no picture', path=None)] * COUNT, table.schema.field('depth_map').type)
    pa.parquet.write_table(table.set_column(2, 'depth_map', broken), parquet)
    data = make(parquet, label_sampler=dict(type='OneLabel'), test_mode=False)
    hidden = [i for i in range(COUNT) if 'depth' not in data.labels[data.get_data_info(i)['sample_id']]]
    assert hidden and all('depth' not in data.load_sample(i)['gt'] for i in hidden)
    with pytest.raises(LabelError, match=r"train.parquet\[train\] column 'depth_map' row 0: expected a picture"):
        make(parquet).load_sample(0)


def test_masks_of_two_levels_are_told_by_what_is_visible(parquet):
    table = pa.parquet.read_table(parquet)
    masks = [dict(bytes=encoded(np.array([[0, 255]] * 6, np.uint8).repeat(4, 1)), path=None)] * COUNT
    pa.parquet.write_table(table.set_column(1, 'classes', pa.array(masks, table.schema.field('classes').type)), parquet)
    data = make(
        parquet, tasks=dict(saliency=dict(type='Saliency')), columns=dict(image='image', saliency='classes'), formats={}
    )
    assert set(np.unique(data.load_sample(0)['gt']['saliency'])) == {0, 1}


def test_mistakes(parquet, tmp_path):
    with pytest.raises(ConfigError, match="no column 'depthmap'.*Did you mean 'depth_map'"):
        len(make(parquet, columns=dict(COLUMNS, depth='depthmap')))
    with pytest.raises(ConfigError, match="'detph' in columns.*Did you mean 'depth'"):
        make(parquet, columns=dict(COLUMNS, detph='depth_map'))
    with pytest.raises(ConfigError, match='expected dict'):
        make(parquet, columns=dict(depth='depth_map'))
    with pytest.raises(NotFoundError, match='cannot be opened.*hf download'):
        len(make(tmp_path / 'nothing'))
    with pytest.raises(ConfigError, match="no label 'semseg'"):
        len(make(parquet, columns=dict(image='image', depth='depth_map')))
    with pytest.raises((LabelError, FileError), match="column 'key' row 0: expected a picture or an array"):
        make(parquet, columns=dict(COLUMNS, semseg='key')).load_sample(0)


def test_a_table_is_not_indexed(parquet, tmp_path):
    from mmmtl.datasets.preparation.indexing import make_index

    config = dict(type='HubDataset', path=str(parquet), columns=COLUMNS, tasks=make(parquet).tasks)
    with pytest.raises(ConfigError, match='cells of a table.*train from it directly'):
        make_index(config, str(tmp_path / 'index.parquet'))
    assert not list(tmp_path.glob('index*'))


def test_batches_of_a_loader_with_processes(parquet):
    from torch.utils.data import DataLoader

    data = make(parquet, pipeline=[dict(type='PackMTLInputs')])
    seen = list(DataLoader(data, batch_size=2, num_workers=1, collate_fn=list))
    assert [sample['data_samples'].metainfo['sample_id'] for batch in seen for sample in batch] == list('0123')
