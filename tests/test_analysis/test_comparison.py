"""The comparison of runs: intervals against closed forms, the same images on both sides, the table."""

from __future__ import annotations

import json
import math
import os
import runpy
import shutil
import sys

import numpy as np
import pytest

from mmmtl.analysis.comparison import _interval, bootstrap, compare_runs
from mmmtl.analysis.comparison_tables import comparison_table, delta_m_table
from mmmtl.analysis.report_tables import collect_report
from mmmtl.errors import ConfigError
from mmmtl.evaluation import MultiTaskMetric, Records
from mmmtl.evaluation.metrics.records import RECORDS_FILE
from mmmtl.tasks import build_tasks
from tests.test_evaluation.cases import make_samples, make_tasks


def evaluate(tasks, samples, folder):
    """Evaluate and leave behind what tools/test.py leaves behind."""
    os.makedirs(folder, exist_ok=True)
    metric = MultiTaskMetric(records=os.path.join(folder, RECORDS_FILE))
    metric.dataset_meta = dict(tasks=tasks)
    metric.process({}, samples)
    figures = metric.evaluate(len(samples))
    with open(os.path.join(folder, 'metrics.json'), 'w') as file:
        json.dump(figures, file)
    return figures


def depth_samples(errors, seed):
    """Images of 4 x 5 pixels whose absolute errors are around ``errors``."""
    rng = np.random.default_rng(seed)
    for i, error in enumerate(errors):
        gt = np.full((1, 4, 5), 10.0, np.float32)
        noise = error + 0.01 * rng.standard_normal((1, 4, 5)).astype(np.float32)
        yield dict(sample_id=f'{i:03d}', gt={'depth': gt}, pred={'depth': gt + noise})


@pytest.fixture(scope='module')
def depth_runs(tmp_path_factory):
    root = tmp_path_factory.mktemp('runs')
    tasks = build_tasks(dict(depth=dict(type='Depth')))
    rng = np.random.default_rng(0)
    hard = rng.uniform(0.5, 3.0, 80)  # what both runs find hard
    a = hard * (1 + 0.05 * rng.standard_normal(80))
    b = a + 0.04 + 0.1 * rng.standard_normal(80)
    for name, errors in (('a', a), ('b', b)):
        evaluate(tasks, list(depth_samples(errors, 1)), str(root / name))
    return str(root / 'a'), str(root / 'b')


def test_the_interval_is_that_of_the_mean_difference(depth_runs):
    """Every image has as many pixels, so the pooled error is a mean over images and its interval is known."""
    records = [Records.load(os.path.join(run, RECORDS_FILE)) for run in depth_runs]
    values = [np.array([f['depth/absErr'] for f in r.image_metrics().values()]) for r in records]
    difference = values[0] - values[1]
    standard_error = difference.std(ddof=1) / math.sqrt(len(difference))
    found = compare_runs([depth_runs[0]], [depth_runs[1]], resamples=2000, seed=3)['depth/absErr']
    assert found.difference == pytest.approx(difference.mean(), rel=1e-9)
    assert found.low == pytest.approx(difference.mean() - 1.96 * standard_error, abs=0.15 * standard_error)
    assert found.high == pytest.approx(difference.mean() + 1.96 * standard_error, abs=0.15 * standard_error)
    # pairing is what makes it narrow
    apart = math.hypot(*(v.std(ddof=1) / math.sqrt(len(v)) for v in values))
    assert found.high - found.low < 0.5 * 2 * 1.96 * apart
    z = abs(difference.mean()) / standard_error
    assert found.p == pytest.approx(math.erfc(z / math.sqrt(2)), abs=0.03)
    assert found.greater_is_better is False


def test_a_run_against_itself(depth_runs):
    found = compare_runs([depth_runs[0]], [depth_runs[0]], resamples=50)
    assert len(found) == 11
    assert all((d.difference, d.low, d.high, d.p) == (0.0, 0.0, 0.0, 1.0) for d in found.values())


def test_resampling_repeats_with_its_seed(depth_runs):
    records = [[Records.load(os.path.join(run, RECORDS_FILE))] for run in depth_runs]
    assert bootstrap(*records, 150, seed=1) == bootstrap(*records, 150, seed=1) != bootstrap(*records, 150, seed=2)


@pytest.fixture(scope='module')
def many_tasks(tmp_path_factory):
    root = tmp_path_factory.mktemp('tasks')
    tasks = make_tasks()
    samples = make_samples(6, tasks)
    figures = [evaluate(tasks, samples, str(root / 'a'))]
    better = []
    for sample in samples:  # a perfect segmentation, everything else as before
        gt, pred = dict(sample.gt.items()), dict(sample.pred.items())
        if 'semseg' in gt:
            pred['semseg'] = gt['semseg'].clamp(max=4)
        better.append(dict(sample_id=sample.sample_id, gt=gt, pred=pred))
    figures.append(evaluate(tasks, better, str(root / 'b')))
    return root, tasks, samples, figures


def test_every_metric_can_be_resampled(many_tasks):
    root, _, _, (a, b) = many_tasks
    found = compare_runs([str(root / 'a')], [str(root / 'b')], resamples=60)
    assert set(found) == set(a) == set(b)
    for name, d in found.items():
        if 'median' in name:
            assert math.isnan(d.low)  # its histograms are not recorded
        elif name.startswith('semseg'):
            assert d.low < d.high < 0 and d.p < 0.05
        else:
            assert d.low == d.high == 0.0
    text = comparison_table(str(root / 'a'), str(root / 'b'), resamples=60, out=str(root / 'c.json'))
    lines = {line.split()[0]: line for line in text.splitlines() if '/' in line.split(' ')[0]}
    assert lines['semseg/mIoU'].endswith('B better') and 'better' not in lines['depth/RMSE']
    written = json.loads((root / 'c.json').read_text())
    assert written['semseg/mIoU']['b'] == b['semseg/mIoU'] and written['normals/median']['low'] is None


def test_images_alone(many_tasks):
    root, tasks, samples, _ = many_tasks
    table = Records.load(str(root / 'a' / RECORDS_FILE)).image_metrics()
    assert list(table) == [s.sample_id for s in samples]
    for sample in samples[:3]:
        metric = MultiTaskMetric()
        metric.dataset_meta = dict(tasks=tasks)
        metric.process({}, [sample])
        wanted = {n: v for n, v in metric.evaluate(1).items() if 'median' not in n}
        assert table[sample.sample_id] == pytest.approx(wanted, rel=1e-12)


def test_several_seeds(depth_runs):
    a, b = depth_runs
    found = compare_runs([a, b], [a], resamples=50)['depth/absErr']
    alone = compare_runs([a], [b], resamples=50)['depth/absErr']
    assert found.a == pytest.approx((alone.a + alone.b) / 2) and found.std_b == 0
    assert found.std_a == pytest.approx(abs(alone.difference) / math.sqrt(2))
    assert f'A: {os.path.normpath(a)}, {os.path.normpath(b)}' in comparison_table(f'{a},{b}', a, 50)


def test_runs_that_cannot_be_compared(tmp_path, depth_runs):
    tasks = build_tasks(dict(depth=dict(type='Depth')))
    evaluate(tasks, list(depth_samples(np.ones(5), 0)), str(tmp_path / 'few'))
    with pytest.raises(
        ValueError, match=r"task 'depth': the runs were evaluated on different images \(80 and 5, 5 in common"
    ):
        compare_runs([depth_runs[0]], [str(tmp_path / 'few')])
    near = build_tasks(dict(depth=dict(type='Depth', max_depth=70.0)))
    evaluate(near, list(depth_samples(np.ones(80), 0)), str(tmp_path / 'near'))
    with pytest.raises(
        ValueError, match="task 'depth': the runs were measured by different rules, .*80.0.* and .*70.0"
    ):
        compare_runs([depth_runs[0]], [str(tmp_path / 'near')])
    assert all(map(math.isnan, _interval(np.array([0.1, np.nan] * 50)))), 'no p of what is no number'
    (tmp_path / 'few' / RECORDS_FILE).unlink()
    found = compare_runs([depth_runs[0]], [str(tmp_path / 'few')])['depth/RMSE']
    assert math.isnan(found.low) and math.isfinite(found.difference)
    assert 'no interval: ' in comparison_table(depth_runs[0], str(tmp_path / 'few'))
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'metrics.json').write_text('{"semseg/mIoU": 0.5}')
    with pytest.raises(ValueError, match='have no metric in common'):
        compare_runs([depth_runs[0]], [str(tmp_path / 'other')])


def test_what_would_be_counted_twice_or_left_out_in_silence(tmp_path):
    for name, figures in {
        'a': {'depth/RMSE': 1.0, 'semseg/mIoU': 0.5},
        'b': {'depth/RMSE': 2.0},
        'c': {'depth/RMSE': None},
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / 'metrics.json').write_text(json.dumps(figures))
    a, b, c = (str(tmp_path / name) for name in 'abc')
    assert 'not in all of these runs, and left out: semseg/mIoU' in comparison_table(a, b)
    with pytest.raises(ValueError, match='is given twice among the runs of one side'):
        comparison_table(f'{b},{b}/', a)
    with pytest.raises(ValueError, match='has depth/RMSE = nan, of which nothing is a share'):
        delta_m_table([b], c)


def test_records_of_an_earlier_evaluation_are_not_taken_for_those_of_a_later_one(depth_runs, tmp_path):
    later = shutil.copytree(depth_runs[0], tmp_path / 'later')
    shutil.copy(os.path.join(depth_runs[1], 'metrics.json'), later)  # as an evaluator leaves it that keeps no records
    with pytest.raises(ConfigError, match='records.npz is of another evaluation than the metrics beside it: depth/'):
        compare_runs([str(later)], [depth_runs[1]], 10)
    with pytest.raises(ConfigError, match='records.npz is of another evaluation'):
        collect_report(str(later))


def test_records_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='no records of images at'):
        Records.load(str(tmp_path / 'x.npz'))
    (tmp_path / 'x.npz').write_bytes(b'nothing')
    with pytest.raises(ValueError, match='does not hold the records of an evaluation'):
        Records.load(str(tmp_path / 'x.npz'))
    np.savez(tmp_path / 'y.npz', a=np.zeros(3))
    with pytest.raises(ValueError, match='does not hold the records of an evaluation'):
        Records.load(str(tmp_path / 'y.npz'))


def test_the_scripts(depth_runs, root_dir, monkeypatch, capsys):
    def call(name, *arguments):
        monkeypatch.setattr(sys, 'argv', [name, *arguments])
        runpy.run_path(str(root_dir / 'tools' / 'analysis_tools' / name), run_name='__main__')
        return capsys.readouterr().out

    assert 'depth/absErr' in call('compare.py', *depth_runs, '--resamples', '20')
    text = call('delta_m.py', depth_runs[0], '--reference', depth_runs[1], '--metrics', 'depth/RMSE')
    assert 'delta_m' in text and 'depth/RMSE' in text
    paper = str(root_dir / 'configs' / '_base_' / 'references' / 'nyud_r18_one.py')
    assert 'Feature Diffusion' in call('delta_m.py', '--reference', paper)
    with pytest.raises(SystemExit):
        call('compare.py', depth_runs[0], str(root_dir))
    assert 'evaluate the run with tools/test.py first' in capsys.readouterr().err
