"""The notebooks run from their first cell to their last, and are kept without outputs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / 'docs' / 'notebooks').glob('*.ipynb'))


@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbclient = pytest.importorskip('nbclient', reason='nbclient is not installed: requirements/tests.txt')
    nbformat = pytest.importorskip('nbformat')
    pytest.importorskip('ipykernel', reason='ipykernel is not installed: requirements/tests.txt')
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(path.parents[2]), os.environ.get('PYTHONPATH', '')]))
    monkeypatch.setenv('IPYTHONDIR', str(tmp_path / 'ipython'))
    notebook = nbformat.read(path, as_version=4)
    nbclient.NotebookClient(notebook, timeout=300, resources=dict(metadata=dict(path=str(tmp_path)))).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == 'code' for output in cell.outputs]
    assert len(outputs) >= 3 and not [o for o in outputs if o.output_type == 'error']


def test_there_are_two_and_they_hold_no_outputs():
    assert [path.stem for path in NOTEBOOKS] == ['own_task', 'start']
    for path in NOTEBOOKS:
        cells = [cell for cell in json.loads(path.read_text())['cells'] if cell['cell_type'] == 'code']
        assert cells and not any(cell['outputs'] or cell['execution_count'] for cell in cells)
