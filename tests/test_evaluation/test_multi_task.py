"""The figures of an evaluation have the same digits for any number of ranks, batch size, order and padding."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import socket

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator

from mmmtl.errors import ConfigError
from mmmtl.evaluation import MultiTaskMetric, Records, TaskMetric
from mmmtl.evaluation.metrics.states import StateFile
from mmmtl.registry import METRICS
from mmmtl.structures import MTLDataSample
from mmmtl.tasks import build_tasks

from .cases import SIZE, make_samples, make_tasks

COUNT = 7


def metric_of(tasks, **options):
    metric = MultiTaskMetric(**options)
    metric.dataset_meta = dict(tasks=tasks)
    return metric


@pytest.fixture(scope='module')
def tasks():
    return make_tasks()


@pytest.fixture(scope='module')
def samples(tasks):
    return make_samples(COUNT, tasks)


@pytest.fixture(scope='module')
def reference(tasks, samples):
    metric = metric_of(tasks)
    metric.process({}, samples)
    return metric.evaluate(COUNT)


def as_text(figures):
    """Every digit."""
    return json.dumps({name: value.hex() for name, value in figures.items()}, sort_keys=True)


def test_every_task_and_protocol_reports(tasks, reference):
    metric = metric_of(tasks)
    assert set(reference) <= set(metric.greater_is_better)
    assert {name.split('/')[0] for name in reference} == set(tasks)
    for name, task in tasks.items():
        assert f'{name}/{task.primary_metric}' in reference, name
    for name in ('saliency/maxF_upstream', 'saliency/maxF_toolkit', 'boundary/odsF_mti', 'depth/relErr_upstream'):
        assert 0 < reference[name] < 1
    assert all(type(value) is float and math.isfinite(value) for value in reference.values())


@pytest.mark.parametrize('batch', [1, 3, 4])
def test_batch_size_order_and_form_do_not_matter(tasks, samples, reference, batch):
    order = np.random.default_rng(batch).permutation(COUNT)
    evaluator = Evaluator(metric_of(tasks))  # hands on dictionaries
    evaluator.dataset_meta = dict(tasks=tasks)
    for start in range(0, COUNT, batch):
        evaluator.process([samples[i] for i in order[start : start + batch]])
    assert as_text(evaluator.evaluate(COUNT)) == as_text(reference)


def shards(world, kind):
    """Indices of each rank: padded to equal length with repeats, exact, or with nothing on the last rank."""
    if kind == 'padded':
        length = -(-COUNT // world)
        order = [i % COUNT for i in range(length * world)]
        return [order[rank::world] for rank in range(world)]
    if kind == 'exact':
        return [list(range(rank, COUNT, world)) for rank in range(world)]
    return [list(range(COUNT))] + [[] for _ in range(world - 1)]


def rank_main(rank, world, port, kind, batch, folder):
    """One process of a distributed evaluation."""
    os.environ.update(
        MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port), RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank)
    )
    torch.set_num_threads(1)
    torch.distributed.init_process_group('gloo', rank=rank, world_size=world)
    tasks = make_tasks()
    everything = make_samples(COUNT, tasks)
    found = {}
    for case in kind.split('+'):
        metric = metric_of(tasks, records=os.path.join(folder, f'{case}.npz'))
        mine = shards(world, case)[rank]
        if case == 'unlabelled':  # this rank's samples carry no label at all; the whole set's labels are elsewhere
            mine = list(range(COUNT)) if rank == 0 else []
            blank = MTLDataSample(metainfo=dict(sample_id=f'blank {rank}'))
            blank.pred, blank.gt = everything[0].pred, {}
            metric.process({}, [blank])
        for start in range(0, len(mine), batch):
            metric.process({}, [everything[i] for i in mine[start : start + batch]])
        found[case] = as_text(metric.evaluate(COUNT + (world if case == 'unlabelled' else 0)))
    with open(os.path.join(folder, f'{rank}.json'), 'w') as file:
        json.dump(found, file)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize('world, batch', [(2, 3), (3, 1)])
def test_ranks_do_not_matter(tmp_path, reference, world, batch):
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        port = probe.getsockname()[1]
    kinds = 'padded+exact+empty+unlabelled'
    mp.start_processes(rank_main, args=(world, port, kinds, batch, str(tmp_path)), nprocs=world, start_method='spawn')
    for rank in range(world):
        found = json.loads((tmp_path / f'{rank}.json').read_text())
        assert set(found) == set(kinds.split('+'))
        for kind, figures in found.items():
            assert figures == as_text(reference), (rank, kind)
    # the states that were gathered give the same figures once more, but for the medians
    for kind in found:
        again = Records.load(str(tmp_path / f'{kind}.npz')).metrics()
        wanted = {name: value for name, value in reference.items() if 'median' not in name}
        assert as_text(again) == as_text(wanted)


def test_worker_processes_do_not_matter(tasks, samples, reference):
    metric = metric_of(tasks, workers=1)
    metric.process({}, samples)
    assert as_text(metric.evaluate(COUNT)) == as_text(reference)


def test_a_mistake_in_a_worker_comes_back(tasks, samples):
    metric = metric_of({'boundary': tasks['boundary']}, workers=1)
    wrong = MTLDataSample(metainfo=dict(sample_id='wrong'))
    wrong.gt = {'boundary': np.zeros(SIZE, np.int64)}
    wrong.pred = {'boundary': np.zeros((1, 8, 9), np.float32)}
    metric.process({}, [wrong])
    with pytest.raises(
        ValueError, match=r"sample 'wrong', task 'boundary': prediction is \(8, 9\) and label \(40, 52\)"
    ):
        metric.evaluate(1)


def test_an_evaluator_can_be_used_again(tasks, samples, reference):
    metric = metric_of(tasks)
    for _ in range(2):
        metric.process({}, samples)
        assert as_text(metric.evaluate(COUNT)) == as_text(reference)


def test_a_task_without_labels_reports_nothing(tasks):
    sample = make_samples(1, tasks, keep=1.1)[0]
    invalid = {name: torch.as_tensor(tasks[name].blank(SIZE)) for name in sample.gt.keys()}
    sample.gt = {name: label for name, label in invalid.items() if name != 'semseg'}
    assert len(sample.gt.keys()) == 9
    metric = metric_of(tasks)
    metric.process({}, [sample])
    assert metric.evaluate(1) == {}
    assert metric.evaluate(0) == {}  # not a single sample


def test_diverged_predictions_stay_visible(tasks):
    sample = make_samples(1, tasks, keep=1.1)[0]
    sample.pred = {'depth': torch.full((1, *SIZE), torch.nan), 'saliency': torch.full((1, *SIZE), torch.nan)}
    sample.gt = {name: label for name, label in sample.gt.items() if name in sample.pred}
    metric = metric_of(tasks)
    metric.process({}, [sample])
    figures = metric.evaluate(1)
    assert math.isnan(figures['depth/RMSE']) and figures['saliency/maxF'] == 0.0


def test_what_another_process_has_cleared_is_not_missed(tmp_path):
    states = StateFile(str(tmp_path / 'measured' / '1.states'))
    shutil.rmtree(tmp_path / 'measured')
    states.close()


def test_a_wrong_number_of_samples_is_reported(tasks, samples, capsys):
    metric = metric_of(tasks)
    metric.process({}, samples[:2])
    metric.evaluate(9)
    assert 'WARNING - MultiTaskMetric saw 2 distinct sample ids, the dataset has 9' in capsys.readouterr().out


def test_memory_does_not_hold_states(tasks, samples):
    metric = metric_of(tasks)
    metric.process({}, samples)
    kept = metric._states
    assert len(kept.ids()) == COUNT and all(isinstance(place, tuple) for place in kept._places.values())
    metric.evaluate(COUNT)
    assert metric._states is None and kept._file.closed


@pytest.mark.parametrize(
    'change, text',
    [
        (lambda p: p.pop('depth'), "label of task 'depth' is there but no prediction; the model predicts"),
        (lambda p: p.update(semseg=torch.full((1, *SIZE), 7)), r"task 'semseg': prediction holds \[7\], expected"),
        (lambda p: p.update(depth=torch.zeros(1, 3, 4)), r'prediction is \(3, 4\) and label \(40, 52\)'),
    ],
)
def test_wrong_predictions_name_sample_and_task(tasks, change, text):
    sample = make_samples(1, tasks, keep=1.1)[0]
    pred = dict(sample.pred.items())
    change(pred)
    metric = metric_of(tasks)
    with pytest.raises(ValueError, match=text) as caught:
        metric.process({}, [dict(sample_id='a7', gt=dict(sample.gt.items()), pred=pred)])
    assert "sample 'a7'" in str(caught.value)


def test_samples_without_what_is_needed(tasks):
    metric = metric_of(tasks)
    with pytest.raises(ValueError, match="has no 'sample_id'; it has"):
        metric.process({}, [dict(gt={}, pred={})])
    with pytest.raises(ValueError, match="has no 'pred'"):
        metric.process({}, [MTLDataSample(metainfo=dict(sample_id='x'))])


def test_wrong_configs():
    with pytest.raises(ConfigError, match="whose metainfo holds 'tasks'"):
        MultiTaskMetric().dataset_meta = dict(classes=3)
    with pytest.raises(RuntimeError, match='before dataset_meta was set'):
        MultiTaskMetric().process({}, [])
    with pytest.raises(ConfigError, match='workers must not be negative, got -1'):
        MultiTaskMetric(workers=-1)

    def depth(metric):
        return build_tasks(dict(depth=dict(type='Depth', metric=metric)))

    with pytest.raises(ConfigError, match=r"metric of task 'depth': .*protocol='upstrem'.*Did you mean 'upstream'"):
        metric_of(depth(dict(type='DepthError', protocol='upstrem')))
    with pytest.raises(ConfigError, match=r"metric of task 'depth': .*'DepthEror'.*Did you mean"):
        metric_of(depth(dict(type='DepthEror')))
    with pytest.raises(ConfigError, match='would be reported twice; give one a protocol'):
        metric_of(depth([dict(type='DepthError'), dict(type='DepthError', max_depth=10.0)]))
    with pytest.raises(ConfigError, match='expected 0 <= min_depth < max_depth'):
        metric_of(depth(dict(type='DepthError', min_depth=3.0, max_depth=2.0)))
    with pytest.raises(ConfigError, match="'depth': MultiTaskMetric is neither a TaskMetric nor"):
        metric_of(depth(dict(type='MultiTaskMetric')))


def test_a_metric_of_ones_own(samples, root_dir):
    """The example of the documentation: a figure of somebody else's package needs a class and a config."""
    page = (root_dir / 'docs' / 'evaluation.md').read_text(encoding='utf-8')
    example = re.search(r'```python\n(@METRICS.*?)```', page, re.DOTALL)[1]
    names = dict(METRICS=METRICS, TaskMetric=TaskMetric, np=np)
    exec(example.replace('register_module()', 'register_module(force=True)'), names)
    tasks = build_tasks(dict(depth=dict(type='Depth', metric=dict(type='ShareWithin', limit=1.0))))
    metric = metric_of(tasks, prefix='mine')
    metric.process({}, samples)
    pairs = [(s.gt.depth, s.pred.depth) for s in samples if 'depth' in s.gt]
    close = torch.cat([(g - p).abs()[torch.isfinite(g)] < 1.0 for g, p in pairs])
    assert metric.evaluate(COUNT) == {'mine/depth/within': float(close.double().mean())}
    assert metric.greater_is_better == {'mine/depth/within': True}
