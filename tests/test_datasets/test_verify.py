"""Verification finds every planted fault, and nothing else; the commands around it and the cache."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from mmmtl.datasets import NYUDv2, PascalContext
from mmmtl.datasets.preparation.prepare import leaves, prepare_command
from mmmtl.datasets.statistics import LabelValues
from mmmtl.datasets.verify import verify_command, verify_dataset
from mmmtl.errors import LabelError
from mmmtl.registry import DATASETS
from mmmtl.tasks import build_tasks
from tests.miniatures import plant_nyudv2_faults, plant_pascal_faults, write_nyudv2, write_pascal_context
from tests.miniatures.scenes import save_picture

from .test_nyudv2 import TASKS as NYUD
from .test_pascal_context import TASKS as PASCAL

MAKERS = dict(
    pascal=(PascalContext, PASCAL, write_pascal_context, plant_pascal_faults),
    nyud=(NYUDv2, NYUD, write_nyudv2, plant_nyudv2_faults),
)


@pytest.mark.parametrize('kind', list(MAKERS))
@pytest.mark.parametrize('workers', [0, 2])
def test_every_planted_fault_is_found_and_no_other(tmp_path, kind, workers):
    make, tasks, write, plant = MAKERS[kind]
    truth = write(tmp_path, train=8, val=1)
    clean = verify_dataset(make(tasks, str(tmp_path)), workers, progress=False)
    assert clean.faults == [] and clean.samples == 8
    assert clean.decoded == {'image': 8, **dict.fromkeys(tasks, 8)}
    planted = plant(tmp_path, [i for i, t in truth.items() if t['split'] == 'train'][2 if kind == 'nyud' else 0 :])
    report = verify_dataset(make(tasks, str(tmp_path)), workers, progress=False)
    assert {(f.sample_id, f.task) for f in report.faults} == set(planted)
    for fault in report.faults:
        assert planted[fault.sample_id, fault.task] in fault.message and str(tmp_path) in fault.message
    assert f'{8 - 1} in order, 1 bad' in str(report)


def test_the_report_counts_what_is_missing(tmp_path, write_folder):
    from mmmtl.datasets import FolderDataset

    write_folder(tmp_path)
    (tmp_path / 'depth' / 'photo1.png').unlink()
    tasks = dict(depth=dict(type='Depth'), semseg=dict(type='SemanticSegmentation', classes=5))
    report = verify_dataset(FolderDataset(tasks, str(tmp_path)), progress=False)
    assert report.absent == {'depth': 1} and report.decoded['depth'] == 3
    assert 'depth: 3 in order, 0 bad, 1 without a label' in str(report)


def config(tmp_path):
    dataset = dict(type='PascalContext', data_root=str(tmp_path), split='train', tasks=PASCAL)
    loader = dict(dataset=dict(dataset, pipeline=[dict(type='NoSuch')], label_sampler=dict(type='OneLabel')))
    inner = dict(loader['dataset'], split='val')
    repeated = dict(dataset=dict(type='RepeatDataset', times=2, dataset=inner))
    return dict(train_dataloader=loader, val_dataloader=repeated, test_dataloader=repeated)


def test_the_commands_see_every_label_once(tmp_path, capsys):
    """Whatever a config hides, repeats or transforms: each data set is gone through once, with all its labels."""
    write_pascal_context(tmp_path, train=6, val=2)
    prepare_command(config(tmp_path), ['train', 'val', 'test'])
    out = tmp_path / 'faults.json'
    assert verify_command(config(tmp_path), ['train', 'val', 'test'], out=str(out)) == 0
    said = capsys.readouterr().out
    assert said.count('PascalContext, 6 samples') == 1 and said.count('PascalContext, 2 samples') == 1
    assert 'human_parts: 6 in order' in said and 'every file is in order' in said
    plant_pascal_faults(tmp_path, [f'2008_{k:06d}' for k in range(6)])
    assert verify_command(config(tmp_path), ['train'], out=str(out)) == 8
    assert {f['task'] for f in json.loads(out.read_text())} == {'image', *PASCAL}
    with pytest.raises(LabelError, match=r'2 samples have bad files.*\n.*LabelMap.*\n.*tentacle'):
        prepare_command(config(tmp_path), ['train'])


@pytest.mark.parametrize('tool', ['dataset_converters/prepare_labels.py', 'misc/verify_dataset.py'])
def test_the_tools(tmp_path, root_dir, tool):
    write_nyudv2(tmp_path)
    (tmp_path / 'config.py').write_text(
        f"tasks = {NYUD!r}\ndata_root = '.'\n"
        "train_dataloader = dict(dataset=dict(type='NYUDv2', data_root=data_root, split='train', tasks=tasks))\n"
    )

    def run():
        command = [
            sys.executable,
            str(root_dir / 'tools' / tool),
            str(tmp_path / 'config.py'),
            '--splits',
            'train',
            '--cfg-options',
            f'data_root={tmp_path}',
        ]
        return subprocess.run(command, capture_output=True, text=True, cwd=root_dir, timeout=300)

    done = run()
    assert done.returncode == 0 and '5' in done.stdout, done.stderr
    if 'verify' in tool:
        (tmp_path / 'depth' / '3.npy').unlink()
        done = run()
        assert done.returncode == 1 and "sample '3', depth" in done.stdout and 'Traceback' not in done.stderr


def test_the_documented_data_set_works(tmp_path, root_dir):
    """The recipe of docs/datasets.md, executed."""
    text = (root_dir / 'docs' / 'datasets.md').read_text()
    block = next(b for b in re.findall(r'```python\n(.*?)```', text, re.S) if 'class Gardens' in b)
    for name in ('images', 'train/semseg'):
        (tmp_path / name).mkdir(parents=True)
    for k in range(100):
        save_picture(tmp_path / 'train' / f'{k}.jpg', np.zeros((8, 9, 3), np.uint8))
        save_picture(tmp_path / 'train' / 'semseg' / f'{k}.png', np.full((8, 9), k % 3, np.uint8))
    scope: dict = {}
    try:
        exec(compile(block, 'docs/datasets.md', 'exec'), scope)
        data = scope['Gardens'](dict(semseg=dict(type='SemanticSegmentation', classes=3)), str(tmp_path))
        assert len(data) == 100 and (data[4]['gt']['semseg'] == 1).all()
    finally:
        DATASETS.module_dict.pop('Gardens', None)


def test_pseudo_labels_are_looked_at_themselves():
    config = dict(type='PseudoLabels', tasks=dict(depth=dict(type='Depth')), dataset=dict(type='NYUDv2', tasks={}))
    assert list(leaves(dict(type='RepeatDataset', dataset=config))) == [config]


def test_values_of_many_labels_take_no_more_room_than_those_of_some():
    task, total = build_tasks(dict(depth=dict(type='Depth')))['depth'], LabelValues()
    for k in range(9000):
        total.add(LabelValues.of(task, np.full((1, 1, 1), 1 + k / 9000, np.float32)))
    assert total.labels == 9000 and len(total.values) <= 2000 and total.median == pytest.approx(1.5, abs=1e-3)
