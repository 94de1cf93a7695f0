"""Samplers: the training stream can be entered anywhere on any number of ranks; evaluation shards are exact."""

from __future__ import annotations

import copy
import itertools
import pickle

import numpy as np
import pytest
from mmengine.dataset import ConcatDataset, RepeatDataset
from mmengine.dataset.base_dataset import BaseDataset
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from mmmtl.engine import ExactSampler, ResumableSampler, SampleIndex
from mmmtl.engine import samplers as module
from mmmtl.registry import DATA_SAMPLERS


def take(sampler, count: int) -> list[SampleIndex]:
    return list(itertools.islice(iter(sampler), count))


def on_rank(monkeypatch, rank: int, world_size: int):
    monkeypatch.setattr(module, 'get_dist_info', lambda: (rank, world_size))


class TestSampleIndex:
    def test_is_an_int_that_survives_copies_and_pickling(self):
        index = SampleIndex(7, 1234567890123)
        assert index == 7 and isinstance(index, int) and [10, 11][SampleIndex(1, 5)] == 11 and hash(index) == hash(7)
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(pickle.dumps(index, protocol))
            assert (int(again), again.draw) == (7, 1234567890123)
        assert copy.deepcopy(index).draw == copy.copy(index).draw == index.draw
        assert 'draw=1234567890123' in repr(index)

    def test_dataset_wrappers_pass_the_draw_on(self):
        class Numbers(BaseDataset):
            def load_data_list(self):
                return [dict(number=n) for n in range(4)]

            def prepare_data(self, idx):
                return int(idx), idx.draw

        make = lambda: Numbers(pipeline=[], serialize_data=False)  # noqa: E731
        both = ConcatDataset([make(), make()])
        assert both[SampleIndex(6, 99)] == (2, 99)
        assert RepeatDataset(make(), times=3)[SampleIndex(9, 42)] == (1, 42)


class TestResumableSampler:
    def test_every_pass_is_a_different_permutation(self):
        stream = take(ResumableSampler(range(10), seed=3), 40)
        passes = [list(map(int, stream[i : i + 10])) for i in range(0, 40, 10)]
        assert all(sorted(one) == list(range(10)) for one in passes)
        assert len({tuple(one) for one in passes}) == 4
        assert [index.draw for index in stream] == list(range(40))

    def test_seeds_do_not_share_passes(self):
        """Seed 0's second pass is not seed 1's first one, as it would be with seed + pass."""
        passes = [tuple(ResumableSampler(range(20), seed=seed).order(p)) for seed in range(4) for p in range(4)]
        assert len(set(passes)) == 16

    def test_unshuffled_is_in_order(self):
        assert list(map(int, take(ResumableSampler(range(3), shuffle=False, seed=0), 7))) == [0, 1, 2, 0, 1, 2, 0]

    @pytest.mark.parametrize('start', [0, 1, 9, 10, 37])
    def test_entering_anywhere_gives_the_tail(self, start):
        whole = take(ResumableSampler(range(10), seed=1), 60)
        sampler = ResumableSampler(range(10), seed=1)
        sampler.set_start(start)
        tail = take(sampler, 60 - start)
        assert [(int(i), i.draw) for i in tail] == [(int(i), i.draw) for i in whole[start:]]

    def test_far_start_costs_nothing(self):
        sampler = ResumableSampler(range(1000), seed=1)
        sampler.set_start(10**12)
        assert take(sampler, 1)[0].draw == 10**12

    @pytest.mark.parametrize('world_size', [2, 3])
    def test_ranks_share_the_stream_of_one(self, monkeypatch, world_size):
        """One step of the same total batch sees the same samples on any number of ranks, resumed or not."""
        one = take(ResumableSampler(range(7), seed=2), 60)
        for start in (0, 12):
            merged = []
            for rank in range(world_size):
                on_rank(monkeypatch, rank, world_size)
                sampler = ResumableSampler(range(7), seed=2)
                sampler.set_start(start)
                merged.append(take(sampler, 6))
            interleaved = [index for step in zip(*merged) for index in step]
            expected = one[start : start + 6 * world_size]
            assert [(int(i), i.draw) for i in interleaved] == [(int(i), i.draw) for i in expected]

    @pytest.mark.parametrize('world_size', [1, 2, 4])
    def test_batches_are_the_same_on_any_number_of_ranks(self, monkeypatch, world_size):
        """Eight samples in batches of two: one after the other, or dealt out."""
        batches = []
        for rank in range(world_size):
            on_rank(monkeypatch, rank, world_size)
            sampler = ResumableSampler(range(7), seed=2)
            sampler.deal(2, 4 // world_size)
            sampler.set_start(8)
            draws = [index.draw for index in take(sampler, 16 // world_size)]
            batches += [tuple(draws[i : i + 2]) for i in range(0, len(draws), 2)]
        assert sorted(batches) == [(p, p + 1) for p in range(8, 24, 2)]

    def test_workers_get_the_draws(self):
        class Draws:
            def __len__(self):
                return 5

            def __getitem__(self, index):
                return int(index), index.draw

        loader = DataLoader(
            Draws(), sampler=ResumableSampler(range(5), seed=0), batch_size=4, num_workers=2, collate_fn=list
        )
        got = [pair for batch in itertools.islice(iter(loader), 5) for pair in batch]
        assert got == [(int(i), i.draw) for i in take(ResumableSampler(range(5), seed=0), 20)]

    def test_no_seed_draws_one(self):
        np.random.seed(0)
        assert ResumableSampler(range(5)).seed != ResumableSampler(range(5)).seed

    def test_bad_input(self):
        with pytest.raises(ValueError, match='has no samples'):
            ResumableSampler([])
        with pytest.raises(ValueError, match='>= 0, got -1'):
            ResumableSampler(range(3), seed=0).set_start(-1)


class TestExactSampler:
    @pytest.mark.parametrize('size', [0, 1, 6, 7])
    @pytest.mark.parametrize('world_size', [1, 2, 3, 5])
    def test_shards_are_a_partition(self, monkeypatch, size, world_size):
        shards = []
        for rank in range(world_size):
            on_rank(monkeypatch, rank, world_size)
            sampler = ExactSampler(range(size))
            shards.append(list(sampler))
            assert len(sampler) == len(shards[-1])
        assert sorted(i for shard in shards for i in shard) == list(range(size))
        assert max(map(len, shards)) - min(map(len, shards)) <= 1

    def test_built_by_the_runner(self):
        cfg = dict(
            batch_size=2,
            num_workers=0,
            dataset=list(range(5)),
            sampler=dict(type='mmmtl.ExactSampler', _scope_='mmmtl'),
        )
        batches = [list(map(int, batch)) for batch in Runner.build_dataloader(cfg, seed=3)]
        assert batches == [[0, 1], [2, 3], [4]]
        assert DATA_SAMPLERS.get('ResumableSampler') is ResumableSampler


class Mixture:
    """Parts of 5 and 20 entries with shares of 3 to 1."""

    datasets, weights = (range(5), range(20)), [3, 1]

    def __len__(self):
        return 25


def test_weights_are_shares_of_the_stream():
    stream = [int(k) for k, _ in zip(ResumableSampler(Mixture(), seed=1), range(40_000))]
    first = [k for k in stream if k < 5]
    assert len(first) == 30_000 and [k for k in stream[:400] if k < 5].__len__() == 300
    assert all(sorted(first[p : p + 5]) == list(range(5)) for p in range(0, 500, 5))  # whole passes of each part
    second = [k for k in stream if k >= 5]
    assert sorted(second[:20]) == list(range(5, 25)) and second[:20] != second[20:40]
    sampler = ResumableSampler(Mixture(), seed=1)
    sampler.set_start(12_345)
    assert [(int(k), k.draw) for k, _ in zip(sampler, range(50))] == [(stream[p], p) for p in range(12_345, 12_395)]


def test_long_passes_are_computed(monkeypatch):
    monkeypatch.setattr('mmmtl.engine.samplers.COMPUTED_FROM', 50)
    stream = [int(k) for k, _ in zip(ResumableSampler(range(60), seed=1), range(120))]
    assert sorted(stream[:60]) == sorted(stream[60:]) == list(range(60)) and stream[:60] != stream[60:]
    many = ResumableSampler(range(10**8), seed=1)
    many.set_start(10**9)
    assert 0 <= int(next(iter(many))) < 10**8
