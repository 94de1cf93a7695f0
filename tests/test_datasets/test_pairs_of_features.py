"""Two features at once: masks that leave 255 open, indexes of renamed tasks, pseudo-labels over shards, and their like."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from mmmtl.analysis import browse_dataset
from mmmtl.analysis.collection import Entry, entries_of
from mmmtl.config import load_config
from mmmtl.datasets import (
    ClassBalancedDataset,
    FolderDataset,
    IndexedDataset,
    MixedDataset,
    PascalContext,
    PseudoLabels,
    PublishedLabels,
)
from mmmtl.datasets.io.inputs import gather_inputs
from mmmtl.datasets.io.memory import original_photograph
from mmmtl.datasets.preparation.indexing import make_index
from mmmtl.datasets.preparation.sharding import make_shards
from mmmtl.datasets.transforms import CentredPad, RandomScaleCrop
from mmmtl.engine.samplers import SampleIndex
from mmmtl.errors import ConfigError, LabelError
from mmmtl.evaluation.metrics import MultiTaskMetric
from mmmtl.models.data_preprocessor import MTLDataPreprocessor
from mmmtl.registry import DATASETS
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import build_tasks
from mmmtl.utils.files import safe_name
from mmmtl.utils.trees import deal_among_all, without_tasks
from mmmtl.visualization import input_photograph
from mmmtl.visualization.panel import Style, make_column
from tests.miniatures import write_pascal_context

SALIENCY = dict(saliency=dict(type='Saliency'))


@pytest.fixture
def folder(tmp_path):
    """Photographs with depth in millimetres, and masks of which every 16th is damaged or blank."""
    for i in range(34):
        mask = np.zeros((8, 10), np.uint8)
        mask[2:4] = 255 * (i == 4)
        many = np.full((8, 10), 255 * (i % 2), np.uint8)
        for name, map_ in (
            ('images', np.full((8, 10, 3), i, np.uint8)),
            ('depth', np.full((8, 10), 2500, np.uint16)),
            ('rare', mask),
            ('many', many),
        ):
            (tmp_path / 'data' / name).mkdir(parents=True, exist_ok=True)
            Image.fromarray(map_).save(tmp_path / 'data' / name / f'{i:02d}.png')
    return tmp_path / 'data'


def test_blank_examples_leave_255_open(folder, tmp_path):
    tasks = dict(saliency=dict(type='Saliency', source='rare'))
    config = dict(type='FolderDataset', data_root=str(folder), tasks=tasks)
    make_index(config, str(tmp_path / 'i.parquet'), progress=False)
    for data in (FolderDataset(tasks, str(folder)), IndexedDataset(str(tmp_path / 'i.parquet'), tasks)):
        assert not data.load_sample(3)['gt']['saliency'].any()
        with pytest.raises(LabelError, match=r'rare/04.png.*values=\{0: 0, 255: 1\}.*or unknown=\[255\]'):
            data.load_sample(4)
    for form, seen in ((dict(unknown=[255]), {0, 255}), (dict(values={0: 0, 255: 1}), {0, 1})):
        data = FolderDataset(tasks, str(folder), formats=dict(saliency=form))
        assert set(data.load_sample(4)['gt']['saliency'].flat) == seen


def test_a_damaged_example_does_not_change_what_255_is(folder, tmp_path):
    (folder / 'many/00.png').write_bytes(b'damaged')
    tasks = dict(saliency=dict(type='Saliency', source='many'))
    config = dict(type='FolderDataset', data_root=str(folder), tasks=tasks)
    make_index(config, str(tmp_path / 'i.parquet'), progress=False)
    for data in (FolderDataset(tasks, str(folder)), IndexedDataset(str(tmp_path / 'i.parquet'), tasks)):
        assert set(data.load_sample(3)['gt']['saliency'].flat) == {1}


def test_formats_follow_a_renamed_task(folder, tmp_path):
    tasks = dict(metres=dict(type='Depth', source='depth'))
    config = dict(type='FolderDataset', data_root=str(folder), tasks=tasks, formats=dict(metres=dict(scale=0.001)))
    make_index(config, str(tmp_path / 'i.parquet'), progress=False)
    for name in ('metres', 'depth', 'far'):
        data = IndexedDataset(str(tmp_path / 'i.parquet'), {name: dict(type='Depth', source='depth')})
        assert np.allclose(data.load_sample(0)['gt'][name], 2.5)


def test_pseudo_labels_over_shards_and_prefixed_ids(folder, tmp_path):
    depth = dict(data_root=str(folder), tasks=dict(depth=dict(type='Depth')), formats=dict(depth=dict(scale=0.001)))
    make_shards(dict(type='FolderDataset', **depth), str(tmp_path / 'shards'), progress=False)
    (tmp_path / 'labels/saliency').mkdir(parents=True)
    for name in ('01', 'A/01', 'B/02'):
        picture = Image.fromarray(np.ones((8, 10), np.uint8))
        picture.save(tmp_path / 'labels/saliency' / f'{safe_name(name)}.png')
    shards = dict(type='IndexedDataset', index=str(tmp_path / 'shards'), tasks=depth['tasks'])
    data = PseudoLabels(SALIENCY, str(tmp_path / 'labels'), shards)
    sample = data.load_sample(0)
    assert sample['sample_id'] == '01' and (sample['img'] == 1).all() and sample['gt']['saliency'].all()
    parts = [dict(type='FolderDataset', **depth, pipeline=[dict(type='PrefixSampleId', name=name)]) for name in 'AB']
    data = PseudoLabels(SALIENCY, str(tmp_path / 'labels'), dict(type='MixedDataset', datasets=parts))
    assert [data.get_data_info(k)['sample_id'] for k in range(len(data))] == ['A/01', 'B/02']
    (tmp_path / 'c.py').write_text(f'train_dataloader = dict(dataset=dict(type="MixedDataset", datasets={parts}))\n')
    ids = [entry.sample_id for entry in entries_of([str(tmp_path / 'c.py')], 1, {})[0]]
    assert len(set(ids)) == 68 and ids[1] == 'A/01'


def test_samples_that_are_repeated_keep_their_draw(folder):
    config = dict(
        type='FolderDataset', data_root=str(folder), tasks=dict(saliency=dict(type='Saliency', source='many'))
    )
    data = ClassBalancedDataset(config, 0.5)
    assert data._get_ori_dataset_idx(SampleIndex(3, 77)).draw == 77 and data._get_ori_dataset_idx(3) == 3


@pytest.mark.parametrize('upright', [True, False])
def test_panels_show_the_photograph_as_it_was_read(tmp_path, upright):
    (tmp_path / 'images').mkdir()
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    Image.fromarray(np.arange(240, dtype=np.uint8).reshape(8, 10, 3)).save(tmp_path / 'images/a.png', exif=exif)
    tasks, packed = dict(depth=dict(type='Depth')), [dict(type='PackMTLInputs')]
    data = FolderDataset(tasks, str(tmp_path), upright=upright, pipeline=packed, allow_unlabelled=True, test_mode=True)
    shown = original_photograph(data[0]['data_samples'])
    assert np.array_equal(shown, data[0]['inputs'].permute(1, 2, 0).numpy())


def test_joined_sets_say_what_measures_them(folder, capsys):
    parts = [
        dict(
            type='FolderDataset',
            data_root=str(folder),
            test_mode=True,
            tasks=dict(depth=dict(type='Depth', max_depth=m)),
        )
        for m in (80, 10)
    ]
    metric = MultiTaskMetric()
    metric.dataset_meta = DATASETS.build(dict(type='MixedDataset', datasets=parts[:1] * 2)).metainfo
    assert 'is measured' not in capsys.readouterr().out
    metric.dataset_meta = MixedDataset(parts).metainfo
    assert "is measured as that of the data sets before it, by [{'type': 'DepthError', 'max_depth': 80.0}]" in (
        capsys.readouterr().out
    )
    with pytest.raises(ConfigError, match='MixedDataset holds a data set.*join what it holds'):
        MixedDataset([parts[0], MixedDataset(parts)])


def test_padding_grows_with_an_enlarged_part(make_results):
    tops = set()
    for seed in range(4):
        results = CentredPad(multiple=60)(
            make_results(size=(40, 60), seed=seed, names=['depth'], pair=False, known=1.0)
        )
        results = RandomScaleCrop(scales=(1.5,))(results)
        blank = np.isnan(results['gt']['depth']).all((0, 2))
        ends = blank[:30].sum(), blank[30:].sum()
        assert np.allclose(results['padding'][2:], ends, atol=1)  # a row of a half
        tops.add(int(ends[0]))
    assert max(tops) > 10 or len(tops) > 1


def test_a_lone_picture_beside_videos_is_told(tmp_path):
    for name in ('a/1.png', 'a/2.png', 'b/1.png'):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new('RGB', (8, 8)).save(tmp_path / name)
    with pytest.warns(UserWarning, match=r'1 images have no next one .*b.1\.png'):
        assert len(gather_inputs([str(tmp_path / 'a'), str(tmp_path / 'b')], frames=2)) == 1


def test_legends_tell_the_range_that_rows_without_labels_are_drawn_in():
    tasks = build_tasks(dict(depth=dict(type='Depth'), semseg=dict(type='SemanticSegmentation', classes=3)))
    near, far = np.linspace(1, 2, 64, dtype=np.float32).reshape(1, 8, 8), np.full((1, 8, 8), 90, np.float32)
    column = make_column(tasks['depth'], dict(a=dict(depth=near), b=dict(depth=far)), Style((64, 64)))
    assert column.legends[0].legend.high < 3  # as both pictures
    rows = {name: dict(semseg=np.full((8, 8), kind)) for kind, name in enumerate('abc')}
    column = make_column(tasks['semseg'], rows, Style((64, 64)))
    assert [name for name, _ in column.legends[0].legend.entries] == ['class 0', 'class 1', 'class 2']


@pytest.mark.parametrize('setting', ['onelabel', 'random'])
@pytest.mark.parametrize('only', [['semseg'], ['depth', 'semseg']])
def test_a_part_of_the_tasks_has_the_labels_of_the_whole_run(root_dir, setting, only):
    def labels(**options):
        cfg = load_config(root_dir / 'configs/baselines/r18_diorama.py', dict(label_setting=setting, **options))
        return DATASETS.build(dict(cfg.train_dataloader.dataset, length=90)).labels

    whole, part = labels(), labels(only_tasks=only)
    assert part == {i: tuple(t for t in names if t in only) for i, names in whole.items()}
    assert 0 < sum('semseg' in names for names in part.values()) < 60


def test_each_of_several_indexes_deals_among_all_tasks():
    tasks, sampler = dict.fromkeys('abc', {}), dict(type='mmmtl.OneLabel')
    whole = dict(train_dataloader=dict(dataset=dict(tasks=tasks, index=['x', dict(index='y', label_sampler=sampler)])))
    found = deal_among_all(without_tasks(whole, {'b', 'c'}, tasks), whole, {'b', 'c'})['train_dataloader']['dataset']
    assert found['index'][1]['label_sampler']['among'] == ['a', 'b', 'c'] and list(found['tasks']) == ['a']


def test_the_drawn_labels_of_a_paper_are_among_its_tasks(tmp_path):
    available = {f'{k:02d}': ['depth'] for k in range(30)}
    sampler = PublishedLabels('nyud', 'onelabel', str(tmp_path), among=['semseg', 'depth', 'normals'])
    assert sum(map(len, sampler.assign(available, ['depth']).values())) == 10


def test_predictions_take_the_floats_of_a_data_set(memory, tasks):
    dataset = memory(dict(depth=tasks['depth']))
    dataset.load_image = lambda info: np.full((4, 4, 3), 127.6, np.float32)
    (image,) = Entry('a', (), (dataset, 0)).load(1).load()
    assert image.dtype == np.uint8 and (image == 128).all()


def test_several_prefixes_stand_as_the_pipeline_puts_them(memory, tasks):
    steps = [dict(type='PrefixSampleId', name=name) for name in ('inner', 'outer')]
    data = memory(dict(depth=tasks['depth']), pipeline=steps)
    assert data[0]['sample_id'] == data.before_ids + 'scene 0' == 'outer/inner/scene 0'
    with pytest.raises(ConfigError, match='in the order of their numbers'):
        build_tasks(dict(semseg=dict(type='SemanticSegmentation', classes={'a', 'b'})))


def test_panels_keep_the_whole_picture_of_a_padded_batch():
    preprocessor = MTLDataPreprocessor(size_divisor=32)
    inputs = [torch.zeros(3, 30, 20, dtype=torch.uint8), torch.zeros(3, 40, 50, dtype=torch.uint8)]
    samples = [MTLDataSample(metainfo=dict(sample_id=str(k), padding=(0, 0, 2, 0))) for k in range(2)]
    ready = preprocessor(dict(inputs=inputs, data_samples=samples), False)
    assert ready['inputs'].shape[-2:] == (64, 64)
    shown = [input_photograph(*pair)[0].shape for pair in zip(inputs, (s.metainfo for s in ready['data_samples']))]
    assert shown == [(28, 20, 3), (38, 50, 3)]


@pytest.mark.parametrize(('split', 'size'), [('val', (8, 10)), ('train', (16, 16))])
def test_pictures_of_a_data_set_lie_on_their_labels(folder, tmp_path, monkeypatch, split, size):
    seen = []
    draw = lambda image, sample, *args, **more: seen.append((image.shape[:2], sample.gt.shape)) or image  # noqa: E731
    monkeypatch.setattr('mmmtl.analysis.browse.panel_of_sample', draw)
    steps = [dict(type='CentredPad', size=(16, 16)), dict(type='PackMTLInputs')]
    depth = dict(tasks=dict(depth=dict(type='Depth')), formats=dict(depth=dict(scale=0.001)))
    data = dict(type='FolderDataset', data_root=str(folder), pipeline=steps, test_mode=split == 'val', **depth)
    browse_dataset(Config({f'{split}_dataloader': dict(dataset=data)}), str(tmp_path / 'out'), split, 1)
    assert seen == [(size, size)]


def test_columns_and_weights_follow_the_tasks_that_are_left():
    tasks = dict.fromkeys(('depth', 'semseg'), {})
    table = dict(type='HubDataset', tasks=tasks, columns=dict(image='rgb', depth='metres', semseg='classes'))
    other = dict(type='FolderDataset', tasks=dict(semseg={}))
    left = without_tasks(dict(type='MixedDataset', datasets=[other, table], weights=[3, 1]), {'semseg'}, tasks)
    table = dict(type='HubDataset', tasks=dict(depth={}), columns=dict(image='rgb', depth='metres'))
    assert left == dict(type='MixedDataset', datasets=[table], weights=[1])


def test_pascal_without_parts_needs_no_list_of_people(tmp_path):
    write_pascal_context(tmp_path, 1, 1)
    (tmp_path / 'ImageSets/Parts/train.txt').unlink()
    tasks = dict(saliency=dict(type='Saliency'))
    assert len(PascalContext(tasks, str(tmp_path), parts_need_person=True))
