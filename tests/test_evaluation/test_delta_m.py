"""Δm: by hand, against every table of the papers, from one's own runs, and inside an evaluation."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger

from mmmtl.analysis.comparison_tables import delta_m_table
from mmmtl.errors import ConfigError
from mmmtl.evaluation import MultiTaskMetric
from mmmtl.evaluation.functional.delta_m import delta_m, mean_and_std
from mmmtl.evaluation.metrics.references import (
    greater_is_better_of,
    known_greater_is_better,
    read_metrics,
    read_reference,
)
from mmmtl.evaluation.table import metrics_table
from mmmtl.tasks import Depth, SemanticSegmentation

from .cases import make_samples, make_tasks

FOLDER = Path(__file__).parents[2] / 'configs' / '_base_' / 'references'
FILES = sorted(p for p in FOLDER.glob('*.py') if 'single_task_reference' in p.read_text())
ROWS = sorted(set(FOLDER.glob('*.py')) - set(FILES))
OFF = {('pascal_r18_one', 'without diffusion'), ('pascal_vitb', 'scale 0.04')}
"""Rows whose printed Δm does not follow from their printed figures."""


def test_delta_m_by_hand():
    reference = {'a/x': 50.0, 'b/y': 2.0}
    found = delta_m({'a/x': 55.0, 'b/y': 2.5, 'c/z': 1.0}, reference, {'a/x': True, 'b/y': False, 'c/z': True})
    assert found.gains == {'a/x': pytest.approx(10.0), 'b/y': pytest.approx(-25.0)}
    assert found.value == pytest.approx(-7.5)
    assert mean_and_std([1.0, 2.0, 3.0]) == (2.0, 1.0) and mean_and_std([4.0]) == (4.0, 0.0)


@pytest.mark.parametrize(
    'figures, reference, better, text',
    [
        ({}, {}, {}, 'holds no metric'),
        (
            {'a/x': 1.0},
            {'a/y': 1.0},
            {'a/y': True},
            r"Δm needs \['a/y'\], which were not evaluated; there are \['a/x'\]",
        ),
        ({'a/x': 1.0}, {'a/x': 1.0}, {}, r"whether \['a/x'\] should be high or low is not known"),
        ({'a/x': 1.0}, {'a/x': 0.0}, {'a/x': True}, 'is zero'),
        ({'a/x': 0.6}, {'a/x': 67.2}, {'a/x': True}, 'a/x is 67.2 and 0.6 was measured: give shares as fractions'),
    ],
)
def test_what_has_no_delta_m(figures, reference, better, text):
    with pytest.raises(ValueError, match=text):
        delta_m(figures, reference, better)


def rounding(content, values):
    """By how much the Δm of a row can change with the digits that were not printed."""
    columns = zip(content['columns'], content['decimals'], content['single_task'], values)
    total = 0.0
    for _, digits, single, value in columns:
        half = 0.5 * 10.0**-digits
        total += 100 * (half / single + value * half / single**2)
    return total / len(content['columns'])


def test_there_are_references():
    assert len(FILES) >= 11 and len(ROWS) >= 3


@pytest.mark.parametrize('path', ROWS, ids=lambda p: p.stem)
def test_rows_without_single_task_metrics_give_no_delta_m(path):
    content = Config.fromfile(path).published_rows
    assert set(greater_is_better_of(content['columns'])) == set(content['columns']) and content['source']
    assert {len(row) for row in content['rows'].values()} == {len(content['columns'])}
    with pytest.raises(ConfigError, match='none of which prints single-task metrics'):
        read_reference(str(path))


@pytest.mark.parametrize('path', FILES, ids=lambda p: p.stem)
def test_the_papers_rows_recompute(path):
    """Each printed Δm follows from the printed figures, as far as their digits go."""
    content = Config.fromfile(path).single_task_reference
    reference = read_reference(str(path))
    greater_is_better = greater_is_better_of(list(reference.metrics))
    assert set(greater_is_better) == set(reference.metrics) == set(content['columns'])
    assert reference.source and reference.name and reference.rows
    for name, (figures, printed) in reference.rows.items():
        value = delta_m(figures, reference.metrics, greater_is_better).value
        if printed is None:
            assert path.stem == 'stablemtl' or name.endswith('released weights')
            continue
        slack = 0.005 + rounding(content, content['rows'][name])
        assert (abs(value - printed) <= slack + 1e-9) == ((path.stem, name) not in OFF), (name, value, printed)
        assert abs(value - printed) < 0.25
    for name, value in reference.metrics.items():  # in the units of the metrics
        assert 0 < value < 1 or name.endswith(('mErr', 'mErr_upstream')) or 'EPE' in name


def test_most_rows_agree_to_the_printed_digits():
    """Not only within their rounding: nearly all to a hundredth."""
    off = []
    for path in FILES:
        reference = read_reference(str(path))
        greater_is_better = greater_is_better_of(list(reference.metrics))
        rows = {n: (delta_m(f, reference.metrics, greater_is_better).value, p) for n, (f, p) in reference.rows.items()}
        off += [abs(value - printed) for value, printed in rows.values() if printed is not None]
    assert len(off) > 45 and sum(o < 0.0151 for o in off) >= len(off) - 6


def test_directions_come_from_the_metrics():
    known = known_greater_is_better()
    assert known['mIoU'] and known['maxF_upstream'] and known['delta1'] and known['odsF']
    assert not (known['mErr'] or known['RMSE'] or known['EPE'] or known['LMSE_upstream'] or known['MAE_toolkit'])
    assert greater_is_better_of(['x/mIoU', 'y/RMSE', 'z/unheard']) == {'x/mIoU': True, 'y/RMSE': False}
    for name, task in make_tasks().items():
        assert task.primary_metric in known, name


def write_run(folder, **figures):
    folder.mkdir()
    content = {name.replace('__', '/'): value for name, value in figures.items()}
    (folder / 'metrics.json').write_text(json.dumps(content))
    return str(folder)


def test_references_from_ones_own_runs(tmp_path):
    a = write_run(tmp_path / 'a', semseg__mIoU=0.5, semseg__aAcc=0.8, delta_m=1.0)
    b = write_run(tmp_path / 'b', depth__delta1=0.7, depth__RMSE=0.6, depth__absErr=0.4)
    reference = read_reference(f'{a},{b}/metrics.json')
    assert reference.metrics == {'semseg/mIoU': 0.5, 'depth/RMSE': 0.6}
    assert read_reference(b, {'depth': 'absErr'}).metrics == {'depth/absErr': 0.4}
    assert read_reference({'semseg/mIoU': 1}).metrics == {'semseg/mIoU': 1.0}
    assert read_metrics(a)['semseg/aAcc'] == 0.8
    c = write_run(tmp_path / 'c', semseg__mIoU=0.6)
    with pytest.raises(ConfigError, match='semseg/mIoU differs between the references'):
        read_reference(f'{a},{c}')
    with pytest.raises(FileNotFoundError, match='evaluate the run with tools/test.py first'):
        read_metrics(str(tmp_path))
    (tmp_path / 'metrics.json').write_text('[1, 2]')
    with pytest.raises(ValueError, match='does not hold metrics'):
        read_metrics(str(tmp_path))
    (tmp_path / 'r.py').write_text('single_task_refrence = dict()\n')
    with pytest.raises(ConfigError, match="no 'single_task_reference'. Did you mean 'single_task_refrence'"):
        read_reference(str(tmp_path / 'r.py'))
    for wrong in (dict(units=[1.0], single_task=[1, 2]), {}):
        with pytest.raises(ConfigError, match='lacks single_task, or has . units for 2 columns'):
            read_reference(dict(columns=['a/mIoU', 'b/RMSE'], **wrong))
    with pytest.raises(ConfigError, match=r"row 'x' of the reference holds 1 numbers for 2 columns"):
        read_reference(dict(columns=['a/mIoU', 'b/RMSE'], single_task=[1, 2], rows={'x': [1]}))


def test_the_table_over_seeds(tmp_path):
    runs = [write_run(tmp_path / str(i), semseg__mIoU=v, depth__RMSE=1.0) for i, v in enumerate((0.5, 0.6))]
    stl = write_run(tmp_path / 'stl', semseg__mIoU=0.5, depth__RMSE=1.25)
    text = delta_m_table(runs, stl)
    assert 'mean of 2 runs' in text
    rows = {line.split()[0]: ' '.join(line.split()[1:]) for line in text.splitlines() if line}
    assert rows['semseg/mIoU'] == '0.5500 ± 0.0707 0.5000 +10.00 ± 14.14'
    assert rows['depth/RMSE'] == '1.0000 1.2500 +20.00'
    assert rows['delta_m'] == '+15.00 ± 7.07'
    assert 'semseg' not in delta_m_table(runs[:1], stl, ['depth/RMSE'])
    with pytest.raises(ConfigError, match=r"the reference has no \['depth/EPE'\]; it has"):
        delta_m_table(runs, stl, ['depth/EPE'])
    paper = delta_m_table([], str(FOLDER / 'pascal_vitl.py'))
    assert any(line.split() == ['TaskDiffusion', '-1.11', '-1.11'] for line in paper.splitlines())
    with pytest.raises(ConfigError, match='holds no further rows'):
        delta_m_table([], stl)


def test_delta_m_inside_an_evaluation(capsys):
    tasks = make_tasks()
    samples = make_samples(3, tasks, keep=1.1)

    def evaluate(reference, chosen=tuple(tasks)):
        metric = MultiTaskMetric(reference=reference)
        metric.dataset_meta = dict(tasks={name: tasks[name] for name in chosen})
        metric.process({}, samples)
        return metric.evaluate(3), metric.greater_is_better

    figures, greater_is_better = evaluate({'semseg/mIoU': 0.5, 'depth/RMSE': 2.0})
    gains = (100 * (figures['semseg/mIoU'] - 0.5) / 0.5, -100 * (figures['depth/RMSE'] - 2.0) / 2.0)
    assert figures['delta_m'] == pytest.approx(sum(gains) / 2) and greater_is_better['delta_m'] is True
    without, greater_is_better = evaluate({'semseg/mIoU': 0.5, 'depth/RMSE': 2.0}, ['semseg'])
    assert 'delta_m' not in without
    assert "no Δm against given: Δm needs ['depth/RMSE'], which were not evaluated" in capsys.readouterr().out
    plain, greater_is_better = evaluate(None)
    assert 'delta_m' not in plain and 'delta_m' not in greater_is_better
    assert set(itertools.chain(plain)) == set(figures) - {'delta_m'}
    with pytest.raises(FileNotFoundError):  # when the dataset is known, not after an hour
        MultiTaskMetric(reference='nowhere/metrics.json').dataset_meta = dict(tasks=tasks)


def test_tasks_that_no_gain_counts_are_told(tmp_path, caplog):
    """The metric of a reference is the one of the task's protocol; a task that the reference lacks is named."""
    run = write_run(tmp_path / 'a', depth__RMSE_upstream=0.5, semseg__aAcc=0.4)
    metric = MultiTaskMetric(reference=run)
    tasks = dict(
        depth=Depth(metric=dict(type='DepthError', protocol='upstream')), semseg=SemanticSegmentation(classes=5)
    )
    MMLogger.get_instance('gains').addHandler(caplog.handler)
    metric.dataset_meta = dict(tasks=tasks)
    assert metric._reference.metrics == {'depth/RMSE_upstream': 0.5}
    assert 'leaves out semseg: the reference lacks semseg/mIoU' in caplog.text
    table = metrics_table(
        {'depth/RMSE_upstream': 0.5, 'KITTI/depth/RMSE_upstream': 0.5, 'depth/RMSE': 1.0, 'delta_m': 1.0}, tasks
    )
    assert table.count('RMSE_upstream*') == 2 and table.count('*') == 2
