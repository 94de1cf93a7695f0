"""The programs that measure large collections run, on small ones."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    'program, options, told',
    [
        ('scale', '--rows 3000 --skip-today', ('open, s', 'OneLabel once, s', 'first batch, 2 workers, s')),
        ('storage', '--samples 6 --size 48 64', ('loose files', 'shards', 'HTTP')),
    ],
)
def test_programs_print_what_they_measure(program, options, told):
    command = [sys.executable, f'benchmarks/{program}.py', *options.split()]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert all(word in done.stdout for word in told), done.stdout


@pytest.mark.slow
def test_the_study_of_pseudo_labels_compares_three_networks(tmp_path, monkeypatch, capsys):
    from benchmarks import pseudo_labels

    small = '--iterations 2 --images 8 --size 32 --batch 4 --ensemble 2 --keep-below 9 9 180'.split()
    monkeypatch.setattr(sys, 'argv', ['pseudo_labels', '--work-dir', str(tmp_path), *small])
    pseudo_labels.main()
    header = next(line for line in capsys.readouterr().out.splitlines() if line.startswith('metric'))
    assert all(name in header for name in ('true labels', 'with labels of its own', 'twice as long'))
    assert (tmp_path / 'study.json').is_file()
