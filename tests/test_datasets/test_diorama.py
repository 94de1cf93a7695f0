"""The dataset class of Diorama: samples, partial labels, frames, the store on disk, and its errors."""

from __future__ import annotations

import numpy as np
import pytest

from mmmtl.datasets import Diorama
from mmmtl.datasets.diorama import dataset as module
from mmmtl.datasets.diorama.render import render
from mmmtl.errors import ConfigError, LabelError
from mmmtl.registry import DATASETS

PALETTE_LENGTH = len(Diorama.METAINFO['palette'])
SINGLE = dict(
    semseg=dict(type='SemanticSegmentation', classes=Diorama.METAINFO['classes']),
    human_parts=dict(type='HumanParts'),
    saliency=dict(type='Saliency'),
    normals=dict(type='SurfaceNormals'),
    boundary=dict(type='Boundary'),
    depth=dict(type='Depth'),
    albedo=dict(type='Albedo'),
    shading=dict(type='Shading'),
)
ALL = dict(SINGLE, optical_flow=dict(type='OpticalFlow'), scene_flow=dict(type='SceneFlow'))


@pytest.fixture
def count_renders(monkeypatch):
    """A list that grows by the scene's number at every rendering."""
    calls: list[int] = []

    def counted(seed, index, size, frames):
        calls.append(index)
        return render(seed, index, size, frames)

    monkeypatch.setattr(module, 'render', counted)
    return calls


def test_all_ten_labels_from_one_rendering(count_renders):
    data = DATASETS.build(dict(type='Diorama', tasks=ALL, length=3, size=(40, 48), scene_seed=4))
    assert len(data) == 3 and data.metainfo['tasks'].keys() == ALL.keys()
    sample = data[1]
    assert count_renders == [1]
    assert sample['sample_id'] == 'diorama_4_000001' and sample['img_path'] is None
    made = render(4, 1, (40, 48), 2)
    for name in ('img', 'img_next'):
        np.testing.assert_array_equal(sample[name], made[name])
    assert sample['gt'].keys() == ALL.keys()
    for name, label in sample['gt'].items():
        np.testing.assert_array_equal(label, made[name], err_msg=name)
        assert label.dtype == (np.uint8 if data.tasks[name].categorical else made[name].dtype)


def test_single_frame_tasks_need_one_frame():
    data = Diorama(SINGLE, length=2, size=(32, 32))
    assert not data.gives_pairs() and 'img_next' not in data[0]
    assert data[0]['gt'].keys() == SINGLE.keys()
    assert Diorama(ALL, length=2, size=(32, 32)).gives_pairs()


def test_names_and_colours_agree_with_the_labels():
    assert len(set(Diorama.METAINFO['palette'])) == len(Diorama.METAINFO['classes']) == PALETTE_LENGTH
    data = Diorama(SINGLE, length=1, size=(16, 16))
    assert data.metainfo['classes'][0] == 'wall'
    assert len(data.metainfo['parts']) == data.tasks['human_parts'].num_classes


def test_editing_a_sample_leaves_the_next_one_alone():
    data = Diorama(SINGLE, length=1, size=(16, 16))
    first = data[0]
    kept = {n: v.copy() for n, v in first['gt'].items()}
    first['img'][:] = 0
    for label in first['gt'].values():
        label[:] = 1
    again = data[0]
    assert again['img'].any()
    for name, label in kept.items():
        np.testing.assert_array_equal(again['gt'][name], label)


def test_partial_labels():
    sampler = dict(type='OneLabel', seed=3)
    data = Diorama(SINGLE, length=40, size=(16, 16), label_sampler=sampler)
    seen = [tuple(data[i]['gt']) for i in range(40)]
    assert all(len(names) == 1 for names in seen) and len(set(seen)) > 3


def test_through_a_pipeline():
    pipeline = [dict(type='RandomFlip'), dict(type='PackMTLInputs')]
    packed = Diorama(ALL, length=1, size=(32, 48), pipeline=pipeline)[0]
    assert packed['inputs'].shape == (2, 3, 32, 48)
    assert packed['data_samples'].sample_id == 'diorama_0_000000'
    assert packed['data_samples'].gt.depth.shape == (1, 32, 48)


def test_worlds_of_two_seeds_differ():
    train, held_out = (Diorama(SINGLE, length=2, size=(16, 16), scene_seed=s) for s in (0, 1))
    assert (train[0]['img'] != held_out[0]['img']).any()
    assert train[0]['sample_id'] != held_out[0]['sample_id']


def test_the_store_gives_the_same_bits_without_rendering(tmp_path, count_renders):
    cached = Diorama(ALL, length=2, size=(24, 32), cache_dir=str(tmp_path))
    fresh = Diorama(ALL, length=2, size=(24, 32))
    first = [cached[0], cached[1]]
    assert count_renders == [0, 1]
    again = Diorama(ALL, length=2, size=(24, 32), cache_dir=str(tmp_path))
    second = [again[0], again[1]]
    assert count_renders == [0, 1]
    for a, b, c in zip(first, second, (fresh[0], fresh[1])):
        for name in ALL:
            for other in (b, c):
                np.testing.assert_array_equal(a['gt'][name], other['gt'][name])
                assert a['gt'][name].dtype == other['gt'][name].dtype
        np.testing.assert_array_equal(a['img_next'], b['img_next'])
    files = sorted(p.name for p in tmp_path.rglob('*') if p.is_file())
    assert files == ['diorama_0_000000.npz', 'diorama_0_000001.npz']  # and no half-written ones
    Diorama(ALL, length=1, size=(16, 16), cache_dir=str(tmp_path))[0]
    assert len(list(tmp_path.rglob('*.npz'))) == 3  # another size is another file


def test_a_damaged_file_in_the_store_is_named(tmp_path):
    data = Diorama(SINGLE, length=1, size=(16, 16), cache_dir=str(tmp_path))
    data[0]
    (path,) = tmp_path.rglob('*.npz')
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match='delete it'):
        Diorama(SINGLE, length=1, size=(16, 16), cache_dir=str(tmp_path))[0]


@pytest.mark.parametrize(
    'wrong, words',
    [
        (dict(length=0), 'length'),
        (dict(size=(2, 64)), 'at least 8'),
        (dict(size=128), 'height, width'),
        (dict(scene_seed=-3), 'seed'),
        (dict(frames=3), 'frames'),
        (dict(lenght=4), "lenght.*Did you mean 'length'"),
    ],
)
def test_bad_arguments_are_named(wrong, words):
    with pytest.raises(ConfigError, match=words):
        DATASETS.build(dict(type='Diorama', tasks=SINGLE, **{'length': 2, **wrong}))


def test_frames_are_given_as_asked_for():
    """Labels of motion can be had with the first frame alone, and pairs without them."""
    one = Diorama(ALL, length=1, size=(16, 16), frames=1)[0]
    assert 'img_next' not in one and 'optical_flow' in one['gt']
    np.testing.assert_array_equal(
        one['gt']['optical_flow'], Diorama(ALL, length=1, size=(16, 16))[0]['gt']['optical_flow']
    )
    assert 'img_next' in Diorama(SINGLE, length=1, size=(16, 16), frames=2)[0]


def test_a_task_without_such_a_label_is_an_error():
    tasks = dict(SINGLE, heat=dict(type='Depth', name='heat'))
    with pytest.raises(ConfigError, match="no label 'heat'"):
        Diorama(tasks, length=2)


def test_too_few_classes_are_noticed():
    data = Diorama(dict(semseg=dict(type='SemanticSegmentation', classes=3)), length=1, size=(32, 32))
    with pytest.raises(LabelError, match='classes 0..2'):
        data[0]
