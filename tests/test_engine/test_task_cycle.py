"""One task per update: what the batches hold, over ranks, after a resume, and against its own bookkeeping."""

from __future__ import annotations

import itertools
import pickle
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.runner import Runner

from mmmtl.datasets import Diorama, MixedDataset
from mmmtl.engine import TaskCycleBatchSampler, TaskIndex, task_cycle
from mmmtl.errors import ConfigError
from tests.test_engine.toy import state

_NUMBERS = itertools.count()


class Part(SimpleNamespace):
    """A dataset with tasks, and labels for some samples."""

    def __init__(self, size, tasks, labels=None):
        super().__init__(size=size, tasks=dict.fromkeys(tasks), labels=labels or {})

    def __len__(self):
        return self.size

    def labelled(self, task):
        return np.array([k for k in range(self.size) if task in self.labels.get(str(k), (task,))])


def whole(*parts):
    return SimpleNamespace(datasets=list(parts), __len__=lambda self: sum(map(len, parts)))


PARTS = (Part(10, ['a', 'b']), Part(7, ['b', 'c']), Part(5, ['c']))


def batches(sampler, count):
    return list(itertools.islice(iter(sampler), count))


def sampler(**options):
    return TaskCycleBatchSampler(dataset=whole(*PARTS), seed=4, **{'batch_size': 2, **options})


@pytest.mark.parametrize('published', [False, True])
@pytest.mark.parametrize('order', ['cycle', 'uniform'])
def test_a_batch_has_one_task_and_one_dataset(order, published):
    found = batches(sampler(order=order, published=published), 300)
    bounds = np.cumsum([0, *map(len, PARTS)])
    for batch in found:
        assert len(batch) == 2 and len({index.tasks for index in batch}) == 1
        owners = {int(np.searchsorted(bounds, index, side='right')) - 1 for index in batch}
        assert len(owners) == 1
        assert batch[0].tasks[0] in PARTS[owners.pop()].tasks
    draws = [index.draw for batch in found for index in batch]
    assert draws == list(range(600))
    assert set(Counter(batch[0].tasks[0] for batch in found)) == {'a', 'b', 'c'}


@pytest.mark.parametrize('accumulation', [1, 3])
def test_all_batches_of_an_update_share_the_task(accumulation):
    for order in ('cycle', 'uniform'):
        names = [b[0].tasks[0] for b in batches(sampler(accumulation=accumulation, order=order), 12 * accumulation)]
        steps = [set(names[i : i + accumulation]) for i in range(0, len(names), accumulation)]
        assert all(len(step) == 1 for step in steps)
        if order == 'cycle':
            assert [step.pop() for step in steps] == ['a', 'b', 'c'] * 4


def test_every_sample_once_in_a_pass():
    """Of every (task, dataset), whichever datasets are drawn in between."""
    seen = {}
    for batch in batches(sampler(), 200):
        for index in batch:
            seen.setdefault((index.tasks[0], int(index) >= 10, int(index) >= 17), []).append(int(index))
    assert len(seen) == 5
    for indices in seen.values():
        size = len(set(indices))
        passes = [sorted(indices[i : i + size]) for i in range(0, len(indices) - size + 1, size)]
        assert len(passes) > 2 and all(one == sorted(set(indices)) for one in passes)
        orders = {tuple(indices[i : i + size]) for i in range(0, len(indices) - size + 1, size)}
        assert len(orders) > 1


def test_datasets_are_drawn_by_their_shares():
    found = batches(sampler(shares=dict(b=[0.9, 0.1], c=[0.0, 1.0])), 3000)
    of_b = [int(b[0]) < 10 for b in found if b[0].tasks == ('b',)]
    assert np.mean(of_b) == pytest.approx(0.9, abs=0.03)
    assert all(int(b[0]) >= 17 for b in found if b[0].tasks == ('c',))


def test_only_labelled_samples(monkeypatch):
    labels = {str(i): ('a', 'b') if i % 3 else ('b',) for i in range(10)}
    one = TaskCycleBatchSampler(dataset=Part(10, ['a', 'b'], labels), batch_size=2, seed=0)
    found = batches(one, 60)
    assert {int(i) for b in found for i in b if i.tasks == ('a',)} == {i for i in range(10) if i % 3}
    assert {int(i) for b in found for i in b if i.tasks == ('b',)} == set(range(10))
    with pytest.raises(ConfigError, match="no sample is labelled for task 'a'"):
        TaskCycleBatchSampler(dataset=Part(2, ['a'], {'0': (), '1': ()}), seed=0)


@pytest.mark.parametrize('start', [0, 1, 5, 41])
@pytest.mark.parametrize('published', [False, True])
def test_entering_anywhere(start, published):
    options = dict(published=published, accumulation=2, order='uniform', shares=dict(b=[3, 1]))
    expected = batches(sampler(**options), start + 8)[start:]
    late = sampler(**options)
    late.set_start(start * 2)
    found = batches(late, 8)
    assert found == expected and [b[0].tasks for b in found] == [b[0].tasks for b in expected]
    assert [i.draw for b in found for i in b] == [i.draw for b in expected for i in b]
    with pytest.raises(ValueError, match='must be >= 0, got -1'):
        late.set_start(-1)


def test_ranks_train_the_same_task_on_different_samples(monkeypatch):
    """Two ranks with batches of 2 see what one rank sees with batches of 4."""
    single = batches(sampler(batch_size=4), 30)
    ranks = []
    for rank in range(2):
        monkeypatch.setattr(task_cycle, 'get_dist_info', lambda rank=rank: (rank, 2))
        ranks.append(batches(sampler(), 30))
    for one, first, second in zip(single, *ranks):
        assert first[0].tasks == second[0].tasks == one[0].tasks
        assert sorted([*first, *second]) == sorted(one)
        assert sorted(i.draw for i in [*first, *second]) == sorted(i.draw for i in one)


def test_seeds_and_order_of_tasks():
    assert batches(sampler(), 30) == batches(sampler(), 30)
    assert batches(sampler(), 30) != batches(TaskCycleBatchSampler(dataset=whole(*PARTS), batch_size=2, seed=5), 30)
    assert [b[0].tasks[0] for b in batches(sampler(tasks=['c', 'a']), 4)] == ['c', 'a', 'c', 'a']
    assert len(sampler()) == 5 + 5 + 3 + 3 + 2


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(order='circle'), "order must be 'cycle' or 'uniform'.*Did you mean 'cycle'"),
        (dict(batch_size=0), 'must be at least 1'),
        (dict(tasks=['d']), "'d' is not a task of the dataset"),
        (dict(shares=dict(b=[1])), r"shares\['b'\] = \[1\], but 2 datasets label it"),
        (dict(shares=dict(b=[0, 0])), 'give one weight >= 0 for each'),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ConfigError, match=message):
        sampler(**options)
    with pytest.raises(ConfigError, match='int does not say what its dataset is'):
        TaskCycleBatchSampler(3, seed=0)
    with pytest.raises(ConfigError, match='do not fill a batch of 6'):
        next(iter(sampler(batch_size=6, published=True)))


def test_an_index_keeps_what_it_carries():
    index = TaskIndex(12, 99, ('a',))
    for other in (index - 5, index % 7, pickle.loads(pickle.dumps(index))):
        assert (other.draw, other.tasks) == (99, ('a',))
    assert (int(index - 5), int(index % 7)) == (7, 5) and repr(index) == "TaskIndex(12, draw=99, tasks=('a',))"


# ---- with datasets and a run -----------------------------------------------------------------------------------------
DEPTH, FLOW = dict(depth=dict(type='Depth')), dict(optical_flow=dict(type='OpticalFlow'))
PACK = [dict(type='RandomFlip'), dict(type='PackMTLInputs')]


def diorama(tasks, **options):
    return dict(type='Diorama', length=6, size=(16, 16), tasks=tasks, pipeline=PACK, **options)


def test_only_the_wanted_label_and_frames_are_loaded(monkeypatch):
    dataset = MixedDataset(
        [
            diorama({**DEPTH, 'semseg': dict(type='SemanticSegmentation', classes=8)}, scene_seed=3),
            diorama({**DEPTH, **FLOW}),
        ]
    )
    opened = Counter()
    read = Diorama.read_label

    def watched(self, info, task):
        opened[task.name] += 1
        return read(self, info, task)

    monkeypatch.setattr(Diorama, 'read_label', watched)
    assert list(dataset.metainfo['tasks']) == ['depth', 'semseg', 'optical_flow'] and len(dataset) == 12
    for batch in batches(TaskCycleBatchSampler(dataset=dataset, batch_size=2, seed=1), 9):
        opened.clear()
        for index in batch:
            sample = dataset[index]
            assert sample['inputs'].ndim == (4 if index.tasks == ('optical_flow',) else 3)
            assert tuple(sample['data_samples'].gt.keys()) == index.tasks
        assert opened == {batch[0].tasks[0]: 2}
    with pytest.raises(ConfigError, match="task 'depth' is.*for one dataset"):
        MixedDataset([diorama(DEPTH), diorama(dict(depth=dict(type='Shading', source='depth')))])
    with pytest.raises(ConfigError, match='datasets is empty'):
        MixedDataset([])


def config(work_dir, iters, **changes):
    """A small latent model, in updates of three batches."""
    tasks = {**DEPTH, 'normals': dict(type='SurfaceNormals'), **FLOW}
    channels = dict(
        block_out_channels=(8, 16),
        layers_per_block=1,
        attention_head_dim=2,
        cross_attention_dim=8,
        norm_num_groups=4,
        sample_size=4,
        down_block_types=('CrossAttnDownBlock2D', 'DownBlock2D'),
        up_block_types=('UpBlock2D', 'CrossAttnUpBlock2D'),
    )
    cfg = Config(
        dict(
            default_scope='mmmtl',
            work_dir=str(work_dir),
            experiment_name=f'cycle_{next(_NUMBERS)}',
            log_level='WARNING',
            model=dict(
                type='LatentMultiTaskModel',
                tasks=tasks,
                autoencoder=dict(type='DCTAutoencoder', block=4, kept=2),
                unet=channels,
                tokens=dict(type='LearnedTokens'),
                task_attention=dict(heads=2, query_width=8, task_mask_prob=0.5),
            ),
            train_dataloader=dict(
                batch_size=2,
                num_workers=0,
                dataset=diorama(tasks),
                sampler=dict(type='ResumableSampler'),
                batch_sampler=dict(type='TaskCycleBatchSampler', accumulation=3, seed=1),
            ),
            train_cfg=dict(type='ResumableTrainLoop', max_iters=iters, val_interval=100),
            optim_wrapper=dict(type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-3), accumulative_counts=3),
            param_scheduler=[dict(type='WarmupExponentialLR', warmup=2, decay_end=10, by_epoch=False)],
            default_hooks=dict(checkpoint=dict(type='AtomicCheckpointHook', interval=100)),
            custom_hooks=[dict(type='RandomStateHook'), dict(type='AccumulationHook')],
            randomness=dict(seed=5),
            visualizer=None,
        )
    )
    cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
    return cfg


def train(cfg):
    torch.manual_seed(0)
    runner = Runner.from_cfg(cfg)
    runner.train()
    return runner


@pytest.mark.parametrize('stop', [4, 6])
def test_resume_inside_a_cycle_and_inside_an_update(tmp_path, stop):
    """After 4 batches: one of the second task's update is gathered. After 6: two of three tasks had their turn."""
    unbroken = train(config(tmp_path / 'unbroken', 8, default_hooks__checkpoint__interval=stop))
    path = tmp_path / f'unbroken/iter_{stop}.pth'
    assert ('gathered_gradients' in torch.load(path, weights_only=True)) == (stop == 4)
    resumed = train(config(tmp_path / 'resumed', 8, resume=True, load_from=str(path)))
    first, second = state(unbroken), state(resumed)
    assert first.keys() == second.keys()
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_counts_must_agree(tmp_path):
    with pytest.raises(ConfigError, match=r'accumulation = 3, but optim_wrapper.accumulative_counts = 2'):
        train(config(tmp_path, 3, optim_wrapper__accumulative_counts=2))


def test_gradients_of_another_number_of_ranks_are_averaged(tmp_path):
    """Two ranks that had gathered 0.5 and 1.5 times a gradient: one goes on with the gradient itself, as without a break."""
    unbroken = train(config(tmp_path / 'unbroken', 6, default_hooks__checkpoint__interval=4))
    path = tmp_path / 'unbroken' / 'iter_4.pth'
    checkpoint = torch.load(path, weights_only=True)
    (own,) = checkpoint['gathered_gradients']
    checkpoint['gathered_gradients'] = [{n: g * factor for n, g in own.items()} for factor in (0.5, 1.5)]
    torch.save(checkpoint, tmp_path / 'iter_4.pth')
    resumed = train(config(tmp_path / 'resumed', 6, resume=True, load_from=str(tmp_path / 'iter_4.pth')))
    assert own
    for name, value in unbroken.model.state_dict().items():
        torch.testing.assert_close(resumed.model.state_dict()[name], value)


def test_learning_rate():
    from mmmtl.engine import WarmupExponentialLR

    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = WarmupExponentialLR(optimizer, decay_end=30, final=0.01, warmup=10, by_epoch=False)
    found = []
    for _ in range(41):
        found.append(optimizer.param_groups[0]['lr'] / 0.5)
        optimizer.step()
        schedule.step()
    assert found[0] == 0 and found[5] == pytest.approx(0.5) and found[10] == pytest.approx(1)
    assert found[20] == pytest.approx(0.1) and found[30] == pytest.approx(0.01) and found[40] == pytest.approx(0.01)
    ratios = np.array(found[11:31]) / np.array(found[10:30])
    np.testing.assert_allclose(ratios, ratios[0])
    for options in (dict(decay_end=5, warmup=0), dict(decay_end=9, final=0), dict(decay_end=200, by_epoch=True)):
        with pytest.raises(ConfigError, match='WarmupExponentialLR'):
            WarmupExponentialLR(optimizer, **{'by_epoch': False, **options})
    short = WarmupExponentialLR(optimizer, decay_end=5, warmup=10, by_epoch=False)
    assert [short.factor(i) for i in (4, 9, 10, 11)] == [0.4, 0.9, 0.01, 0.01]
