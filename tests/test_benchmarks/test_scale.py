"""The programs that measure large collections run, on small ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_an_index_of_many_rows_is_measured():
    done = subprocess.run(
        [sys.executable, 'benchmarks/scale.py', '--rows', '3000', '--skip-today'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for name in ('open, s', 'OneLabel once, s', 'first batch, 2 workers, s', 'on the disk, GB'):
        assert any(line.startswith(name) for line in done.stdout.splitlines()), done.stdout


@pytest.mark.slow
def test_the_study_of_pseudo_labels_compares_three_networks(tmp_path, monkeypatch, capsys):
    from benchmarks import pseudo_labels

    small = '--iterations 2 --images 8 --size 32 --batch 4 --ensemble 2 --keep-below 9 9 180'.split()
    monkeypatch.setattr(sys, 'argv', ['pseudo_labels', '--work-dir', str(tmp_path), *small])
    pseudo_labels.main()
    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('metric'))
    assert all(name in header for name in ('true labels', 'with labels of its own', 'twice as long'))
    assert (tmp_path / 'study.json').is_file()
