"""The table of speeds: its rows are commands that are there, and a row that is measured again replaces its own line alone."""

from __future__ import annotations

import json
import math
import subprocess
from pathlib import Path

import pytest
import torch
from torch import nn

from benchmarks import engines, table
from benchmarks.reference.match import differences, gradient_differences
from mmmtl.analysis.benchmark import Benchmark
from mmmtl.commands import parser_of
from mmmtl.config import load_config


@pytest.mark.parametrize('name', table.ROWS)
def test_rows_are_commands_that_are_there(name):
    row = table.ROWS[name]
    assert (table.ROOT / row.command[0]).is_file()
    if row.command[0] == table.BENCHMARK:
        arguments = parser_of('benchmark').parse_args([*row.command[1:], '--threads', '2', '--out', 'x.json'])
        assert (table.ROOT / arguments.config).is_file() and (arguments.reference or arguments.plain)


def test_a_row_replaces_its_own_line(tmp_path, monkeypatch, capsys):
    page = tmp_path / 'speed.md'
    page.write_text(f'before\n\n{table.BEGIN}\n{table.END}\nafter\n')
    monkeypatch.setattr(table, 'PAGE', page)
    spent = {'taskdiffusion': 2.0, 'diffusionmtl': 4.0}

    def run(line, **kwargs):
        out, name = line[line.index('--out') + 1], 'taskdiffusion' if 'taskdiffusion' in line[2] else 'diffusionmtl'
        if line[1].endswith('engines.py'):
            found = {'openvino': {'ms': 500.0}, 'onnxruntime': {'error': 'no'}}
        else:
            found = dict(seconds=spent[name], other_s=8.0, difference=1e-6, memory_ratio=0.5)
        Path(out).write_text(json.dumps(found))
        return subprocess.CompletedProcess(line, 0, f'{name} printed', '')

    monkeypatch.setattr(table.subprocess, 'run', run)
    raw = str(tmp_path / 'raw.txt')
    for names in (['taskdiffusion', 'diffusionmtl'], ['diffusionmtl']):
        assert table.main(['--rows', *names, '--raw', raw]) == 0
        spent['diffusionmtl'] = 1.0
    text = page.read_text()
    assert text.startswith('before') and text.endswith('after\n')
    rows = table.read_rows(text)
    assert rows['taskdiffusion'][2:] == ['8.00', '2.00', '4.00', '0.50', '1.0e-06', '0.50', 'not']
    assert rows['diffusionmtl'][4] == '8.00' and len(rows) == 2
    assert 'taskdiffusion printed' in Path(raw).read_text()
    before = page.read_text()
    failing = subprocess.CompletedProcess([], 1, '', 'Traceback\nMemoryError: gone')
    monkeypatch.setattr(table.subprocess, 'run', lambda *a, **k: failing)
    assert table.main(['--rows', 'mlore', '--raw', raw, '--keep']) == 1
    assert page.read_text() == before and 'MemoryError: gone' in capsys.readouterr().out


def test_an_engine_computes_the_same_maps():
    """A small network through OpenVINO; onnxruntime's export takes as long as this test may."""
    pytest.importorskip('openvino')
    root = table.ROOT
    options = {'model.backbone.channels': (8, 8, 16, 16), 'model.neck.channels': 16, 'only_tasks': ['depth']}
    cfg = load_config(str(root / 'configs/diffusionmtl/r18_diorama.py'), options)
    bench = Benchmark(cfg, size=(32, 32), optimize=False)
    found = engines.compare(bench, ['openvino'], 1, 1)
    assert found['here']['difference'] < 2e-5 and found['here']['ms'] > 0
    assert found['openvino'].get('difference', 1) < 1e-4, found['openvino']


def test_an_engine_that_refuses_is_a_result(monkeypatch):
    def refuse(*args):
        raise NotImplementedError('no such operator')

    monkeypatch.setitem(engines.RUNNERS, 'openvino', refuse)
    cfg = load_config(str(table.ROOT / 'configs/diffusionmtl/r18_diorama.py'), {'only_tasks': ['depth']})
    found = engines.compare(Benchmark(cfg, size=(32, 32), optimize=False), ['openvino'], 1, 1)
    assert 'no such operator' in found['openvino']['error'] and found['here']['ms'] > 0


def test_a_map_without_numbers_is_not_like_another():
    one, nothing = torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), math.nan)
    found = differences({'depth': (one, one), 'edge': (nothing, one)})
    assert math.isnan(found['largest relative difference']) and math.isnan(found['relative L2'])
    layer = nn.Linear(2, 1)
    layer.weight.grad, layer.bias.grad = torch.ones(1, 2), torch.full((1,), math.nan)
    wanted = dict(weight=torch.ones(1, 2), bias=torch.ones(1))
    assert math.isnan(gradient_differences(layer, wanted)['gradients, worst parameter'])
    assert math.isnan(engines.largest_difference([one.numpy(), nothing.numpy()], [one.numpy()] * 2))
