"""Studies: what runs there are, skipping and going on, the table."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from mmmtl.analysis.study import draw_labels, execute, read_study, run_study, study_table
from mmmtl.analysis.study_costs import training_minutes
from mmmtl.apis.model import build_model
from mmmtl.config import load_config
from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.delta_m import delta_m
from mmmtl.ops.allocator import without_memory

CONTENT = """
study = dict(
    title='Two ways', about='Small.', reference='alone', seeds=[0, 1], options={options},
    rows={{
        'alone': dict(config='model.py', per_task=True),
        'all tasks': dict(config='model.py', options={{'max_iters': 2}})}})
"""
# what stands for a run: figures that depend on its name
STAND_IN = """
import json, pathlib, sys
root, name = pathlib.Path(sys.argv[1]), sys.argv[2]
if (root / 'broken').exists() and 'all' in name:
    sys.exit('broken')
with open(root / 'calls', 'a') as file:
    file.write(name + chr(10))
seed = float(name[-1])
figures = {'semseg/mIoU': 0.5, 'depth/RMSE': 2.0, 'boundary/odsF': 0.25, 'depth/relErr': 0.125}
if 'all' in name:
    figures = {'semseg/mIoU': 0.6 + seed / 10, 'depth/RMSE': 1.0, 'boundary/odsF': 0.5, 'depth/relErr': 0.5}
else:
    task = name.split('_')[1]
    figures = {k: v for k, v in figures.items() if k.startswith(task)}
(root / name / 'metrics.json').write_text(json.dumps(figures))
"""


@pytest.fixture
def study(tiny_config):
    path = Path(tiny_config).parent / 'study.py'
    config = Path(tiny_config).name
    path.write_text(CONTENT.format(options={}).replace('model.py', config))
    return path


def stand_in(tmp_path: Path, root: Path) -> list[str]:
    script = tmp_path / 'stand_in.py'
    script.write_text(STAND_IN)
    return [sys.executable, str(script), str(root)]


def test_runs_are_planned_by_row_seed_and_task(study, tmp_path):
    runs = read_study(str(study)).runs(tmp_path)
    names = [r.name for r in runs]
    assert names[:4] == ['alone_semseg_seed0', 'alone_depth_seed0', 'alone_boundary_seed0', 'all-tasks_seed0']
    assert len(names) == 8
    assert runs[1].options['only_tasks'] == ['depth']
    assert runs[1].options['train_dataloader.dataset.drop_unlabelled'] is True
    assert runs[3].options == {'max_iters': 2}


@pytest.mark.parametrize(
    'rows, seeds, words',
    [
        ("{'a': dict(config='m.py', option={})}", '[0]', r"rows\['a'\] has no entry 'option'.*'options'"),
        ("{'a': dict(options={})}", '[0]', r"rows\['a'\] lacks config"),
        (
            "{'a': dict(config='m.py'), 'A ': dict(config='n.py')}",
            '[0]',
            "rows 'a' and 'A ' would share the folder 'a'",
        ),
        ("{'a': dict(config='m.py')}", '[0, 0]', r'seeds must be different whole numbers, at least one, got \[0, 0\]'),
        ("{'a': dict(config='m.py')}", '[]', 'at least one'),
    ],
)
def test_rows_that_would_not_be_what_they_say(tmp_path, rows, seeds, words):
    (tmp_path / 'study.py').write_text(f"study = dict(title='t', reference='a', seeds={seeds}, rows={rows})")
    with pytest.raises(ConfigError, match=words):
        read_study(str(tmp_path / 'study.py'))


def test_what_is_done_is_skipped_and_what_failed_is_named(study, tmp_path):
    root = tmp_path / 'runs'
    root.mkdir()
    (root / 'broken').touch()
    command = stand_in(tmp_path, root)
    assert run_study(str(study), str(root), 2, command) == ['all-tasks_seed0', 'all-tasks_seed1']
    assert 'broken' in (root / 'all-tasks_seed0' / 'run.log').read_text()
    (root / 'broken').unlink()
    assert run_study(str(study), str(root), 1, command) == []
    calls = (root / 'calls').read_text().split()
    assert len(calls) == len(set(calls)) == 8


def test_table_of_means_deviations_and_gains(study, tmp_path):
    root = tmp_path / 'runs'
    run_study(str(study), str(root), 1, stand_in(tmp_path, root))
    out = tmp_path / 'results' / 'table.md'
    text = study_table(str(study), str(root), str(out))
    assert out.read_text() == text
    row = next(line for line in text.splitlines() if line.startswith('| all tasks'))
    # (20 + 50 + 100) / 3 and (40 + 50 + 100) / 3
    assert '0.6500 ± 0.0707' in row and '1.0000 ± 0.0000' in row and '+60.00 ± 4.71' in row
    assert '| depth/relErr ↓ | 0.1250 ± 0.0000 | 0.5000 ± 0.0000 |' in text
    numbers = json.loads(out.with_suffix('.json').read_text())
    alone = numbers['metrics']['alone'][0]
    better = {'semseg/mIoU': True, 'depth/RMSE': False, 'boundary/odsF': True}
    expected = delta_m(numbers['metrics']['all tasks'][1], {k: alone[k] for k in better}, better).value
    assert numbers['delta_m']['all tasks'][1] == pytest.approx(expected)


def test_costs_and_intervals_beside_the_gains(study, tmp_path):
    root = tmp_path / 'runs'
    study.write_text(study.read_text().replace('study = dict(', 'study = dict(costs=True,'))
    run_study(str(study), str(root), 1, stand_in(tmp_path, root))
    out = tmp_path / 'results' / 'table.md'
    text = study_table(str(study), str(root), str(out))
    numbers = json.loads(out.with_suffix('.json').read_text())
    costs = numbers['costs']
    assert costs['alone']['parameters'] > 2 * costs['all tasks']['parameters'] > 0, 'three networks for three tasks'
    assert costs['all tasks']['seconds'] > 0 and costs['all tasks']['layers'] > 0
    assert f'| all tasks | {costs["all tasks"]["parameters"] / 1e6:.2f} |' in text
    low, high = numbers['intervals']['all tasks']
    assert low == pytest.approx(170 / 3) and high == pytest.approx(190 / 3), (
        'two seeds: both once, or one of them twice'
    )
    assert numbers['intervals']['alone'] == [0, 0]
    drawn = out.with_suffix('.svg').read_text()
    assert drawn.startswith('<?xml') and '</svg>' in drawn
    kept = json.loads((root / 'costs.json').read_text())
    for row in kept.values():
        row['costs']['parameters'] = 77_000_000
    (root / 'costs.json').write_text(json.dumps(kept))
    assert '| all tasks | 77.00 |' in study_table(str(study), str(root)), 'counted once'
    kept['all tasks']['of']['options'] = {'model.decoder.channels': 4}
    (root / 'costs.json').write_text(json.dumps(kept))
    text = study_table(str(study), str(root))
    assert '| all tasks | 77.00 |' not in text and '| alone | 77.00 |' in text, 'of other options'


def test_a_row_without_all_its_runs_is_left_out(study, tmp_path):
    root = tmp_path / 'runs'
    run_study(str(study), str(root), 1, stand_in(tmp_path, root))
    for seed in (0, 1):
        (root / f'alone_depth_seed{seed}' / 'metrics.json').unlink()
    (root / 'all-tasks_seed0' / 'metrics.json').write_text('{"semseg/mIoU": 0.5, "depth/RMSE": 1.0}')
    text = study_table(str(study), str(root))
    assert '| alone' not in text and '| all tasks' in text and ' nan ± nan |' in text
    for name, spent in (('all-tasks_seed0', 60), ('alone_semseg_seed0', 30), ('alone_depth_seed0', 90)):
        (root / name / 'seconds.json').write_text(str(spent))
    for seconds in root.glob('*_seed1/seconds.json'):
        seconds.unlink()
    (root / 'alone_boundary_seed0' / 'seconds.json').unlink()
    minutes = [training_minutes(read_study(str(study)), root, row) for row in ('all tasks', 'alone')]
    assert minutes == [1.0, 3.0], 'of the runs that there are, and as many as a seed has'


def test_other_options_do_not_mix_with_what_is_there(study, tmp_path):
    root = tmp_path / 'runs'
    run_study(str(study), str(root), 1, stand_in(tmp_path, root))
    study.write_text(study.read_text().replace('options={},', "options={'max_iters': 3},"))
    for again in (
        lambda: run_study(str(study), str(root), 1, stand_in(tmp_path, root)),
        lambda: study_table(str(study), str(root)),
    ):
        with pytest.raises(ConfigError, match='other options .max_iters.*delete it'):
            again()


def test_labels_drawn_by_another_sampler(study, tmp_path):
    text = study.read_text()
    for seed, told in ((0, None), (0, None), (1, r"labels drawn by .*'seed': 0.*draws them by .*'seed': 1")):
        study.write_text(
            text.replace('study = dict(', f"study = dict(label_sampler=dict(type='OneLabel', seed={seed}),")
        )
        with pytest.raises(ConfigError, match=told) if told else nullcontext():
            draw_labels(read_study(str(study)), tmp_path)


def test_a_run_trains_evaluates_and_goes_on(study, tmp_path):
    runs = {r.name: r for r in read_study(str(study)).runs(tmp_path)}
    run = runs['alone_depth_seed0']
    execute(run, tmp_path)
    figures = json.loads((tmp_path / run.name / 'metrics.json').read_text())
    assert 'depth/RMSE' in figures and 'semseg/mIoU' not in figures
    (tmp_path / run.name / 'metrics.json').unlink()
    execute(run, tmp_path)  # from the last checkpoint: evaluation alone
    assert json.loads((tmp_path / run.name / 'metrics.json').read_text()) == figures


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (("title='Two ways', ", ''), 'lacks .*title'),
        (("reference='alone'", "reference='alnoe'"), "Did you mean 'alone'"),
        (('seeds=', 'seed='), "no entry 'seed'.*'seeds'"),
        (('study =', 'other ='), "holds no 'study"),
    ],
)
def test_mistakes_in_a_study_are_told(study, change, message):
    study.write_text(study.read_text().replace(*change))
    with pytest.raises(ConfigError, match=message):
        read_study(str(study))
    with pytest.raises(FileNotFoundError, match='no study'):
        read_study(str(study.with_name('none.py')))


def test_a_table_grows_where_another_machine_left_it(study, tmp_path):
    first, second, out = tmp_path / 'first', tmp_path / 'second', tmp_path / 'results' / 'table.md'
    first.mkdir()
    (first / 'broken').touch()
    run_study(str(study), str(first), 1, stand_in(tmp_path, first), str(out))
    study_table(str(study), str(first), str(out))
    assert len(json.loads(out.with_suffix('.json').read_text())['runs']) == 6

    assert run_study(str(study), str(second), 1, stand_in(tmp_path, second), str(out)) == []
    assert (second / 'calls').read_text().split() == ['all-tasks_seed0', 'all-tasks_seed1']
    text = study_table(str(study), str(second), str(out))
    third = study_table(str(study), str(tmp_path / 'third'), str(out))
    assert '| alone' in third and third.splitlines()[:9] == text.splitlines()[:9]

    study.write_text(study.read_text().replace('options={},', "options={'max_iters': 3},"))
    with pytest.warns(UserWarning, match='alone_depth_seed1 was made with other settings'):
        text = study_table(str(study), str(tmp_path / 'fourth'), str(out))
    assert '| alone' not in text and '| all tasks' in text, "the row's own option hides the study's"


def test_studies_of_the_claims(root_dir, tmp_path):
    """Rows have three seeds and configs that hold; TaskDiffusion's baseline is as large as it is."""
    found = {}
    for path in sorted((root_dir / 'configs' / 'studies').glob('claim_*.py')):
        study = read_study(str(path))
        assert len(study.seeds) >= 3 and len(study.runs(tmp_path)) == len(study.seeds) * len(study.rows)
        for row in study.rows:
            found[row] = load_config(study.config_of(row), study.options_of(row))
    with without_memory():
        ours, baseline = (
            sum(p.numel() for p in build_model(found[row], initialize=False).parameters())
            for row in ('TaskDiffusion', 'baseline, as many parameters')
        )
    assert abs(baseline / ours - 1) < 0.05


@pytest.mark.parametrize('name', ['diorama_onelabel', 'camvid_onelabel'])
def test_studies_of_the_project(root_dir, name, tmp_path):
    study = read_study(str(root_dir / 'configs' / 'studies' / f'{name}.py'))
    runs = study.runs(tmp_path)
    assert len(runs) == 3 * (len(study.tasks()) + 4)
    assert all(Path(run.config).is_file() for run in runs)
    assert all(run.options['label_map'].endswith('labels.json') for run in runs)


@pytest.mark.parametrize('name', ['methods_diorama', 'methods_diorama_onelabel', 'methods_camvid'])
def test_studies_of_all_methods(root_dir, name, tmp_path):
    """Every method of the common config has a row, on the same backbone, schedule and data."""
    study = read_study(str(root_dir / 'configs' / 'studies' / f'{name}.py'))
    assert study.costs and len(study.seeds) >= 2 and study.rows[study.reference]['per_task']
    methods = {study.options_of(row).get('method', 'plain') for row in study.rows}
    assert methods == set(load_config(study.config_of(study.reference)).networks)
    assert len({study.config_of(row) for row in study.rows}) == 1
    assert len(study.runs(tmp_path)) == len(study.seeds) * (len(study.tasks()) + len(study.rows) - 1)
