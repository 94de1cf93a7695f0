"""Verification finds every planted fault, and nothing else; the commands around it and the cache."""

from __future__ import annotations

import pytest

from mmmtl.datasets import NYUDv2, PascalContext
from mmmtl.datasets.verify import verify_dataset
from tests.miniatures import plant_nyudv2_faults, plant_pascal_faults, write_nyudv2, write_pascal_context

from .test_nyudv2 import TASKS as NYUD
from .test_pascal_context import TASKS as PASCAL

MAKERS = dict(pascal=(PascalContext, PASCAL, write_pascal_context, plant_pascal_faults),
              nyud=(NYUDv2, NYUD, write_nyudv2, plant_nyudv2_faults))  # fmt: skip


@pytest.mark.parametrize('kind', list(MAKERS))
@pytest.mark.parametrize('workers', [0, 2])
def test_every_planted_fault_is_found_and_no_other(tmp_path, kind, workers):
    make, tasks, write, plant = MAKERS[kind]
    truth = write(tmp_path, train=8, val=1)
    clean = verify_dataset(make(tasks, str(tmp_path)), workers, progress=False)
    assert clean.faults == [] and clean.samples == 8
    assert clean.decoded == {'image': 8, **dict.fromkeys(tasks, 8)}
    planted = plant(
        tmp_path, [i for i, t in truth.items() if t['split'] == 'train'][2 if kind == 'nyud' else 0 :]
    )
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
