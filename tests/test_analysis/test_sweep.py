"""Sweeps: the space, going on, failed trials, the table; one real search of three trials."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from mmmtl.analysis.sweep import STORAGE, check_range, main_of_trial, open_search, read_sweep, run_sweep, sweep_table
from mmmtl.errors import ConfigError

optuna = pytest.importorskip('optuna', reason="Optuna is not installed: pip install 'mmmtl[sweep]'")
CONTENT = """
sweep = dict(
    title='Small', config='CONFIG', metric='depth/RMSE', trials=4, options={'max_iters': 2}, sampler='random',
    space={
        'optim_wrapper.optimizer.lr': dict(type='float', low=1e-4, high=1e-1, log=True),
        'model.decoder.num_blocks': dict(type='int', low=1, high=3),
        'size': dict(type='choice', values=[(32, 32), (32, 64)])})
"""
# what stands for a run: the error is the learning rate
STAND_IN = """
import json, pathlib, sys
root, name = pathlib.Path(sys.argv[1]), sys.argv[2]
if (root / 'broken').exists() and name.endswith('1'):
    sys.exit('broken')
options = json.loads((root / name / 'run.json').read_text())['options']
(root / name / 'metrics.json').write_text(json.dumps({'depth/RMSE': options['optim_wrapper.optimizer.lr']}))
"""


@pytest.fixture
def sweep(tiny_config) -> Path:
    path = Path(tiny_config).parent / 'sweep.py'
    path.write_text(CONTENT.replace('CONFIG', Path(tiny_config).name))
    return path


def stand_in(root: Path) -> list[str]:
    root.mkdir(exist_ok=True)
    script = root.parent / 'stand_in.py'
    script.write_text(STAND_IN)
    return [sys.executable, str(script), str(root)]


def options_of(root: Path) -> list[dict]:
    return [json.loads(p.read_text())['options'] for p in sorted(root.glob('trial_*/run.json'))]


def test_trials_lie_in_the_space_and_the_best_is_told(sweep, tmp_path):
    root = tmp_path / 'runs'
    assert run_sweep(str(sweep), str(root), 1, stand_in(root)) == []
    found = options_of(root)
    assert len(found) == 4 and len({o['optim_wrapper.optimizer.lr'] for o in found}) == 4
    for options in found:
        assert 1e-4 <= options['optim_wrapper.optimizer.lr'] <= 1e-1 and options['max_iters'] == 2
        assert options['model.decoder.num_blocks'] in (1, 2, 3) and options['size'] in ([32, 32], [32, 64])
    text = sweep_table(str(sweep), str(root), str(tmp_path / 'table.md'))
    best = min(o['optim_wrapper.optimizer.lr'] for o in found)
    assert f'best: --cfg-options optim_wrapper.optimizer.lr={best}' in text
    assert (tmp_path / 'table.md').read_text().count('| trial_') == 4
    assert run_sweep(str(sweep), str(root), 1, ['false']) == [], 'nothing is done twice'


def test_what_failed_is_named_and_another_is_tried(sweep, tmp_path):
    root = tmp_path / 'runs'
    command = stand_in(root)
    (root / 'broken').touch()
    assert run_sweep(str(sweep), str(root), 1, command) == ['trial_0001']
    assert 'broken' in (root / 'trial_0001' / 'run.log').read_text()
    (root / 'broken').unlink()
    assert run_sweep(str(sweep), str(root), 1, command) == []
    assert len(list(root.glob('*/metrics.json'))) == 4
    drawn = [o['optim_wrapper.optimizer.lr'] for o in options_of(root)]
    assert len(set(drawn)) == len(drawn) == 5, 'a sweep that goes on draws others'


def test_a_trial_that_was_cut_off_goes_on_with_its_values(sweep, tmp_path):
    root = tmp_path / 'runs'
    command = stand_in(root)
    search = open_search(read_sweep(str(sweep)), root, str(sweep))
    trial = search.ask()
    given = {
        'optim_wrapper.optimizer.lr': trial.suggest_float('optim_wrapper.optimizer.lr', 1e-4, 1e-1, log=True),
        'model.decoder.num_blocks': trial.suggest_int('model.decoder.num_blocks', 1, 3),
    }
    trial.suggest_int('size', 0, 1)
    trial.set_user_attr('folder', 'trial_0000')
    (root / 'trial_0000').mkdir()
    (root / 'trial_0000' / 'last_checkpoint').write_text('half way')
    assert run_sweep(str(sweep), str(root), 1, command) == []
    again = json.loads((root / 'trial_0000' / 'run.json').read_text())['options']
    assert {k: again[k] for k in given} == given
    assert (root / 'trial_0000' / 'last_checkpoint').is_file() and len(list(root.glob('*/metrics.json'))) == 4


@pytest.mark.parametrize(
    ('old', 'new', 'told'),
    [
        ("metric='depth/RMSE'", "metric='depth/RMSA'", "no metric gives 'depth/RMSA'.*RMSE"),
        ('trials=4', 'trials=0', 'trials must be'),
        ('optim_wrapper.optimizer.lr', 'optim_wrapper.optimiser.lr', 'optimi'),
        ('num_blocks', 'num_block', 'num_blocks'),
        ("title='Small'", "titel='Small'", "no entry 'titel'.*title"),
        ('low=1e-4', 'low=0.0', 'log=True needs low above 0'),
        ("sampler='random'", "sampler='grid'", 'sampler'),
    ],
)
def test_mistakes_are_told_before_the_first_run(sweep, old, new, told):
    sweep.write_text(sweep.read_text().replace(old, new))
    with pytest.raises(ConfigError, match=told):
        read_sweep(str(sweep))


@pytest.mark.parametrize(
    'given',
    [
        dict(type='floot', low=0, high=1),
        dict(type='int', low=0.5, high=1),
        dict(type='float', low=2.0, high=1.0),
        dict(type='choice', values='abc'),
        dict(type='choice', values=[]),
        dict(type='int', low=0),
        dict(type='float', low=0.0, high=1.0, values=[1]),
    ],
)
def test_ranges_that_are_none(given):
    with pytest.raises(ConfigError, match='here'):
        check_range(given, 'here')


def test_another_metric_needs_another_folder(sweep, tmp_path):
    root = tmp_path / 'runs'
    run_sweep(str(sweep), str(root), 1, stand_in(root))
    text = sweep.read_text()
    for old, new in (
        ('depth/RMSE', 'semseg/mIoU'),
        ('[(32, 32), (32, 64)]', '[(32, 64), (32, 32)]'),
        ("s': 2", "s': 3"),
    ):
        sweep.write_text(text.replace(old, new))
        with pytest.raises(ConfigError, match='another --work-dir'):
            sweep_table(str(sweep), str(root))


def test_a_real_trial_trains_and_evaluates(sweep, tmp_path):
    root = tmp_path / 'runs'
    sweep.write_text(sweep.read_text().replace('trials=4', 'trials=1'))
    command = [
        sys.executable,
        '-c',
        f'import sys; from mmmtl.analysis.sweep import main_of_trial; main_of_trial({str(sweep)!r}, {str(root)!r}, '
        'sys.argv[1])',
    ]
    assert run_sweep(str(sweep), str(root), 1, command) == []
    assert (root / 'trial_0000' / 'metrics.json').is_file() and (root / STORAGE).is_file()
    assert 'trial_0000' in sweep_table(str(sweep), str(root))
    with pytest.raises(FileNotFoundError, match='no trial'):
        main_of_trial(str(sweep), str(root), 'trial_0009')
