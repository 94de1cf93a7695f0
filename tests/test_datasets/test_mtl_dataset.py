"""The base dataset: seeded samples, metainfo, and errors that name file, task, expected and found."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from torch.utils.data import DataLoader

from mmmtl.errors import ConfigError, LabelError

TASKS = dict(semseg=dict(type='SemanticSegmentation', classes=12), depth=dict(type='Depth'))
PIPELINE = [
    dict(type='RandomScale'),
    dict(type='RandomCrop', size=(24, 24), category_task='semseg'),
    dict(type='RandomFlip'),
    dict(type='PhotoMetricDistortion'),
    dict(type='CentredPad', size=(24, 24)),
    dict(type='PackMTLInputs'),
]


class Drawn(int):
    """An index that carries its draw, as a training sampler yields it."""

    def __new__(cls, value, draw):
        made = super().__new__(cls, value)
        made.draw = draw
        return made

    def __reduce__(self):
        return Drawn, (int(self), self.draw)


def test_a_sample_depends_on_seed_id_and_draw_alone(memory):
    data = memory(TASKS, pipeline=PIPELINE, seed=3)
    first = data[Drawn(2, 5)]['inputs']
    random.seed(1)
    data[0]
    assert torch.equal(first, memory(TASKS, pipeline=PIPELINE, seed=3)[Drawn(2, 5)]['inputs'])
    assert not torch.equal(first, data[Drawn(2, 6)]['inputs'])
    assert not torch.equal(first, memory(TASKS, pipeline=PIPELINE, seed=4)[Drawn(2, 5)]['inputs'])


def test_workers_make_the_same_samples(memory):
    data = memory(TASKS, pipeline=PIPELINE)
    indices = [Drawn(k % 8, k // 8) for k in range(16)]

    def load(workers):
        loader = DataLoader(data, 4, sampler=indices, num_workers=workers, collate_fn=pseudo_collate)
        return torch.stack([image for batch in loader for image in batch['inputs']])

    assert torch.equal(load(0), load(2))


def test_without_a_draw_python_s_generator_decides(memory):
    data = memory(TASKS, pipeline=PIPELINE)
    random.seed(0)
    first, second = data[1]['inputs'], data[1]['inputs']
    random.seed(0)
    assert torch.equal(data[1]['inputs'], first) and not torch.equal(first, second)


def test_test_mode_has_no_randomness(memory):
    data = memory(TASKS, pipeline=PIPELINE, test_mode=True)
    assert torch.equal(data[1]['inputs'], data[1]['inputs'])


def test_metainfo_carries_the_task_objects(memory):
    data = memory(TASKS)
    assert data.metainfo['tasks'] is data.tasks and data.metainfo['dataset'] == 'Memory'
    assert list(data.tasks) == ['semseg', 'depth']


def test_indices_take_a_part(memory):
    assert len(memory(TASKS, indices=3)) == 3
    assert memory(TASKS, indices=[4, 6])[1]['sample_id'] == 'scene 6'
    for wrong in (0, [], [True, False], [99], np.array([-99])):
        with pytest.raises(ConfigError, match=r'indices: expected places of the \d+ samples, or how many, found'):
            memory(TASKS, indices=wrong)


def test_samples_without_a_label_can_be_left_out(memory, tmp_path):
    labels = tmp_path / 'labels.json'
    everything = memory(TASKS, label_sampler=dict(type='OneLabel'), label_map_out=str(labels))
    depth = memory(
        dict(depth=TASKS['depth']), label_sampler=dict(type='LabelMap', path=str(labels)), drop_unlabelled=True
    )
    named = {i for i, kept in everything.labels.items() if kept == ('depth',)}
    assert {depth.get_data_info(k)['sample_id'] for k in range(len(depth))} == named
    assert 0 < len(depth) < len(everything)


def test_a_data_set_without_a_readable_sample_ends(write_folder, tmp_path):
    from mmmtl.datasets import FolderDataset

    write_folder(tmp_path, 2)
    tasks = dict(depth=TASKS['depth'])
    for path in (tmp_path / 'depth').iterdir():
        path.write_bytes(b'no')
    with pytest.raises(LabelError, match='photo'):
        FolderDataset(tasks, str(tmp_path), max_unreadable=5)[-1]


def test_labels_are_what_a_data_set_loads_itself(memory):
    assert 'of' not in memory(TASKS).sources()


def test_pairs_are_loaded_when_a_task_needs_them(memory):
    data = memory(dict(optical_flow=dict(type='OpticalFlow')), pipeline=[dict(type='PackMTLInputs')])
    assert data[0]['inputs'].shape == (2, 3, 40, 50)


def test_single_frames_refuse_motion(write_folder, tmp_path):
    from mmmtl.datasets import FolderDataset

    write_folder(tmp_path)
    tasks = dict(optical_flow=dict(type='OpticalFlow'))
    with pytest.raises(
        ConfigError, match=r"single frame, but a pair is wanted by the tasks \['optical_flow'\].*frames=1"
    ):
        FolderDataset(tasks, str(tmp_path), allow_unlabelled=True)
    assert 'img_next' not in FolderDataset(tasks, str(tmp_path), allow_unlabelled=True, frames=1)[0]
    with pytest.raises(ConfigError, match=r'a pair is wanted \(frames=2\)'):
        FolderDataset(dict(depth=dict(type='Depth')), str(tmp_path), allow_unlabelled=True, frames=2)
    with pytest.raises(ConfigError, match='frames must be 1, 2 or None, got 3'):
        FolderDataset(tasks, str(tmp_path), allow_unlabelled=True, frames=3)


def broken(memory, label, name='depth'):
    class Broken(memory):
        def read_label(self, info, task):
            return label if task.name == name else super().read_label(info, task)

        def label_file(self, info, source):
            return f'/data/{source}/{info["number"]}.png'

    return Broken(TASKS)


@pytest.mark.parametrize(
    'name, label, text',
    [
        ('depth', np.zeros((1, 40, 50)), r"/data/depth/0.png: task 'depth' expects float32 \(1, H, W\), found float64"),
        ('depth', np.zeros((40, 50), np.float32), r'found float32 \(40, 50\)'),
        ('depth', np.full((1, 40, 50), -1, np.float32), r'expects values in \[0, inf\] m, found \[-1, -1\]'),
        ('depth', np.full((1, 40, 50), np.inf, np.float32), 'finite'),
        ('depth', np.ones((1, 20, 50), np.float32), r'size of its image, 40x50 .*found 20x50'),
        ('semseg', np.full((40, 50), 12), r"/data/semseg/0.png: task 'semseg' expects classes 0..11 .*found \[12\]"),
        ('semseg', np.zeros((40, 50), np.float32), 'integer map'),
    ],
)
def test_a_bad_label_names_file_task_expected_and_found(memory, name, label, text):
    with pytest.raises(LabelError, match=text):
        broken(memory, label, name)[0]


def test_a_label_of_none_is_no_label(memory):
    assert set(broken(memory, None)[0]['gt']) == {'semseg'}


def test_sample_ids_are_unique(memory):
    class Twice(memory):
        def list_samples(self):
            return super().list_samples()[:2] + super().list_samples()[:1]

    with pytest.raises(ValueError, match="sample id 'scene 0' occurs 2 times"):
        Twice(TASKS)


def test_configuration_mistakes(memory):
    with pytest.raises(ConfigError, match="'RandomScael' is not in the registry.*Did you mean 'RandomScale'"):
        memory(TASKS, pipeline=[dict(type='RandomScael')])
    with pytest.raises(ConfigError, match="RandomFlip: unknown argument 'probb'.*Did you mean 'prob'"):
        memory(TASKS, pipeline=[dict(type='RandomFlip', probb=1)])
    with pytest.raises(ConfigError, match="leak_labels_to_crop: 'semsegg' is not a task"):
        memory(TASKS, leak_labels_to_crop=('semsegg',))


def test_leaked_labels_serve_the_crop_alone(memory):
    """The parity switch loads the hidden segmentation, lets the crop look at it, and does not hand it out."""
    data = memory(TASKS, label_sampler=dict(type='OneLabel'), leak_labels_to_crop=('semseg',), pipeline=PIPELINE)
    hidden = next(k for k in range(8) if data.labels[f'scene {k}'] == ('depth',))
    sample = data[hidden]['data_samples']
    assert data.opened == [(f'scene {hidden}', 'depth'), (f'scene {hidden}', 'semseg')]
    assert set(sample.gt.keys()) == {'depth'} == set(sample.metainfo['labeled_tasks'])


def test_test_mode_never_leaks(memory):
    data = memory(TASKS, label_sampler=dict(type='OneLabel'), leak_labels_to_crop=('semseg',), test_mode=True)
    assert data[0]['leaked'] == {} and len(data.opened) == 1
