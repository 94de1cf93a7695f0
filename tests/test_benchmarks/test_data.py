"""A training sample of PASCAL-Context is the published one; the benchmark says what it costs."""

from __future__ import annotations

import random

import pytest

from benchmarks import data
from benchmarks.reference import pascal_data
from mmmtl.utils.seeding import stable_hash


@pytest.fixture(scope='module')
def pascal(tmp_path_factory):
    folder = tmp_path_factory.mktemp('sets')
    return dict(data.datasets(folder, 6, (90, 120), ['pascal']))['pascal']


def test_samples_are_those_of_the_transcription(pascal):
    """Same random numbers, same pixels: labels exactly, images up to the order of normalisation's two operations."""
    crop = next(t for t in pascal.pipeline.transforms if hasattr(t, 'category_task'))
    shown = set()
    for index in (i for i in range(len(pascal)) if data.ordinary(pascal, i)):
        arguments = data.published_inputs(pascal, index)
        for draw in range(3):
            sample_id = pascal.get_data_info(index)['sample_id']
            rng = random.Random(stable_hash(pascal.seed, sample_id, draw))
            published = pascal_data.sample(*arguments, rng, crop.size)
            apart = data.differences(pascal[data.drawn(index, draw)], published)
            assert {k for k, v in apart.items() if v} <= {'image', 'normals'}, (sample_id, draw, apart)
            assert max(apart.values()) < 1e-6, (sample_id, draw, apart)
            shown |= {k for k, m in published.items() if (m != 255).any() and (m != 0).any()}
    assert shown == {'image', 'semseg', 'human_parts', 'saliency', 'normals', 'boundary'}


def test_classes_travel_as_bytes_and_arrive_as_whole_numbers(pascal):
    sample = pascal.load_sample(0)
    assert {sample['gt'][n].dtype.name for n, t in pascal.tasks.items() if t.categorical} == {'uint8'}
    packed = pascal[data.drawn(0, 0)]['data_samples'].gt
    assert {packed.get(n).dtype.itemsize for n, t in pascal.tasks.items() if t.categorical} == {8}


def test_the_command_prints_stages_and_rates(capsys):
    found = data.main(
        ['--samples', '1', '--draws', '1', '--rounds', '1', '--size', '60', '80', '--sets', 'pascal', 'diorama']
    )
    printed = capsys.readouterr().out
    assert set(found) == {'pascal', 'diorama'} and min(found.values()) > 0
    for words in (
        'RandomScale',
        'label, normals',
        'as published',
        'samples a second per worker',
        'largest differences',
    ):
        assert words in printed
