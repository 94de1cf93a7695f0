"""``benchmarks/gpu.py`` runs to its end on a CPU, loses nothing when it is cut off, and invents no page."""

from __future__ import annotations

import json
import time

import pytest
import torch

from benchmarks import gpu
from benchmarks.gpu_steps import page
from benchmarks.gpu_steps.on_device import on_device
from benchmarks.gpu_steps.rows import Rows, Setting
from mmmtl.ops.dispatch import KERNELS, overridden


@pytest.mark.slow
def test_a_small_run_measures_every_step(tmp_path):
    assert gpu.main(['--device', 'cpu', '--tiny', '--minutes', '5', '--out', str(tmp_path)]) == 0
    found = {p.stem: json.loads(p.read_text()) for p in tmp_path.glob('*.json')}
    assert set(found) == {*gpu.STEPS, 'run', 'dispatch'}
    assert set(found['run']['states'].values()) == {'finished'}
    for step in gpu.STEPS:
        assert found[step]['finished'] and found[step]['rows']
        assert not [row for row in found[step]['rows'] if 'error' in row]
    assert {row['kernel'] for row in found['kernels']['rows']} == set(KERNELS)
    # each kernel beside its plain expression: in bfloat16 they round at different places
    assert all(r['difference'] < (1e-5 if r['precision'] == 'float32' else 0.05) for r in found['kernels']['rows'])
    assert all(row.get('past', 0) == 0 for row in found['golden']['rows'])
    published = [row for row in found['models']['rows'] if 'ratio' in row]
    assert len(published) == 2
    assert all(v < 1e-3 for row in published for k, v in row.items() if 'difference' in k)
    assert [row['equal'] for row in found['training']['rows'] if 'equal' in row] == [True]
    assert any(row.get('finite') for row in found['training']['rows'])
    overridden(found['dispatch'], 'dispatch.json')
    with pytest.raises(ValueError, match='nothing about a GPU'):
        page.page(found)


def slow_step(setting, rows):
    rows.add(measured=1)
    time.sleep(60)


def broken_step(setting, rows):
    rows.add(measured=2)
    raise MemoryError('no memory')


def test_a_step_that_is_cut_or_breaks_leaves_its_rows(tmp_path, monkeypatch):
    """The next step runs all the same."""
    monkeypatch.setattr('benchmarks.gpu_steps.machine.measure', slow_step)
    monkeypatch.setattr('benchmarks.gpu_steps.loader.measure', broken_step)
    setting = Setting('cpu', True, (), str(tmp_path))
    assert gpu.run_steps(setting, 2, ['machine', 'loader']) == {'machine': 'cut', 'loader': 'failed'}
    for step, value in (('machine', 1), ('loader', 2)):
        left = json.loads((tmp_path / f'{step}.json').read_text())
        assert left['rows'] == [{'measured': value}] and not left['finished']


def test_an_error_becomes_a_row(tmp_path):
    rows = Rows(tmp_path / 'x.json', 'x', time.monotonic() + 1)
    with rows.trying(kernel='k'):
        raise RuntimeError('no\nkernel')
    assert json.loads((tmp_path / 'x.json').read_text())['rows'] == [
        {'kernel': 'k', 'error': 'RuntimeError: no kernel'}
    ]


def test_draws_are_the_same_on_any_device(tmp_path):
    """A generator of the CPU draws on the CPU; files and arrays land on the device."""
    torch.save({'x': [torch.ones(2)]}, tmp_path / 'x.pt')
    generator = torch.Generator().manual_seed(0)
    with on_device('meta'):
        assert torch.randn(3, generator=generator).device.type == 'meta'
        assert torch.load(tmp_path / 'x.pt')['x'][0].device.type == 'meta'
        assert torch.from_numpy(torch.ones(2, device='cpu').numpy()).device.type == 'meta'
    wanted = torch.Generator().manual_seed(0)
    torch.randn(3, generator=wanted)
    assert torch.equal(torch.rand(2, generator=generator), torch.rand(2, generator=wanted))


def test_the_page_holds_what_was_measured_and_says_what_was_not():
    results = {
        'run': {'device': 'cuda', 'tiny': False},
        'machine': {
            'finished': True,
            'seconds': 1.0,
            'rows': [{'device': 'X1'}, {'product': 'float32', 'tflops': 51.2}],
        },
        'kernels': {
            'finished': False,
            'seconds': 2.0,
            'rows': [{'kernel': 'mixing', 'plain_ms': 2.0, 'use': True}, {'kernel': 'bands', 'error': 'a|b'}],
        },
    }
    text = page.page(results)
    assert 'X1' in text and '| float32 | 51.2 |' in text and '| mixing | 2 | yes |' in text
    assert 'Ended before all was measured' in text and 'a\\|b' in text
    assert '## Networks\n\nNot measured.' in text
    for broken in ({}, {**results, 'run': {'device': 'cpu'}}, {**results, 'machine': {'rows': []}}):
        with pytest.raises(ValueError, match='nothing'):
            page.page(broken)
