"""The replay of recorded runs tells the truth: planted errors are seen, and what can't be replayed is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.parity import diffusionmtl, replay, taskdiffusion
from tests.parity.common import CAP, LOSS, judged, quantity, relative, single_norm

DATA = Path(__file__).parent / 'data'
SMALL = DATA / 'taskdiffusion_small.pt'


def planted(value: torch.Tensor) -> torch.Tensor:
    """The tensor with an error of 1e-3 of its scale in its smallest element."""
    value = value.clone()
    value.view(-1)[value.abs().argmin()] += 1e-3 * value.abs().max()
    return value


def leaves(values, path=()):
    """Every floating-point tensor in nested containers, with its path."""
    if isinstance(values, torch.Tensor):
        if values.is_floating_point() and values.numel() and values.abs().max() > 0:
            yield path, values
    elif isinstance(values, (dict, list, tuple)):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield from leaves(value, (*path, key))


def wrong(results):
    return {name for name, difference, tolerance in results if not difference <= tolerance}


def test_every_planted_error_is_seen_taskdiffusion(monkeypatch):
    """An error of 1e-3 in one element of anything that was recorded is past the bound of exactly that quantity."""
    data, kept = torch.load(SMALL, weights_only=True), {}
    monkeypatch.setattr(taskdiffusion, 'judged', lambda run: kept.setdefault('run', run) and judged(run))
    clean = taskdiffusion.replay(data)
    assert not wrong(clean)
    bounds = {name: tolerance for name, _, tolerance in clean}
    exact = kept['run'](torch.float64, None)
    for name, q in exact.items():
        if q.expected.is_floating_point() and q.expected.numel() and q.expected.abs().max() > q.floor:
            assert relative(q.found, planted(q.expected), q.floor) > bounds[name], name


def test_every_planted_error_is_seen_diffusionmtl(monkeypatch):
    data, kept = torch.load(DATA / 'diffusionmtl_feature_small.pt', weights_only=True), {}
    monkeypatch.setattr(diffusionmtl, 'judged', lambda run: kept.setdefault('run', run) and judged(run))
    bounds = {name: tolerance for name, _, tolerance in diffusionmtl.replay(data)}
    for name, q in kept['run'](torch.float64, None).items():
        if q.tolerance and q.expected.is_floating_point() and q.expected.abs().max() > q.floor:
            assert relative(q.found, planted(q.expected), q.floor) > bounds[name], name


def test_an_error_of_the_program_is_seen_whatever_the_sensitivity():
    """A quantity that amplifies rounding without limit gets no bound that hides an error of 1e-3."""

    def run(dtype, seed):
        noise = 0.1 * (0 if seed is None else 1 + seed)
        return {'x': quantity(torch.tensor([1.001, 1.0 + noise]), torch.tensor([1.0, 1.0]), LOSS)}

    results = {name: (difference, bound) for name, difference, bound in judged(run)}
    assert results['x'][1] == CAP and results['x'][0] > CAP


def test_a_wrong_number_fails(tmp_path, capsys):
    data = torch.load(SMALL, weights_only=True)
    data['eval']['outputs']['normals'] = planted(data['eval']['outputs']['normals'])
    torch.save(data, tmp_path / 'changed.pt')
    assert replay.main(['--quiet', str(tmp_path / 'changed.pt')]) == 1
    printed = capsys.readouterr().out
    assert 'prediction, normals' in printed and 'FAILED' in printed


def test_what_cannot_be_replayed_has_a_status_of_its_own_and_stops_nothing(tmp_path, capsys):
    torch.save({'something': torch.zeros(1)}, tmp_path / 'other.pt')
    (tmp_path / 'broken.pt').write_bytes(b'no recording')
    files = [str(tmp_path / n) for n in ('other.pt', 'broken.pt', 'missing.pt')]
    assert replay.main([*files, str(SMALL)]) == replay.NOT_REPLAYED
    printed = capsys.readouterr()
    assert 'passed' in printed.out
    said = printed.err.strip().splitlines()
    assert len(said) == 3
    assert 'no method recognises' in said[0] and 'not a recording' in said[1] and 'no such file' in said[2]


def test_unknown_methods_are_skipped_and_listed_on_demand(tmp_path, capsys):
    torch.save({'something': torch.zeros(1)}, tmp_path / 'other.pt')
    assert replay.main(['--skip-unknown', str(tmp_path / 'other.pt')]) == 0
    assert 'skipped, of methods that are not here: other.pt' in capsys.readouterr().out
    assert replay.main(['--skip-unknown', str(tmp_path / 'missing.pt')]) == replay.NOT_REPLAYED


def test_a_missing_sibling_is_one_line(shared_dir, tmp_path, capsys):
    (tmp_path / 'multi.pt').symlink_to(shared_dir / 'golden' / 'stablemtl_multi.pt')
    assert replay.main(['--skip-unknown', str(tmp_path / 'multi.pt')]) == replay.NOT_REPLAYED
    (said,) = capsys.readouterr().err.strip().splitlines()
    assert 'stablemtl_single.pt' in said or 'stablemtl_pipeline.pt' in said


@pytest.mark.parametrize('name', ['losses', 'metrics', 'transforms'])
def test_recorded_parts_of_diffusionmtl(shared_dir, name):
    _, results = replay.replay_file(shared_dir / 'golden' / f'diffusionmtl_{name}.pt')
    assert len(results) > 10 and not wrong(results)


def test_a_norm_loses_what_single_precision_loses():
    """Of nine million numbers the recorded sum is off by more than the gradients' bound; an error of 1e-3 still shows."""
    x = torch.randn(9 * 2**20, generator=torch.Generator().manual_seed(0))
    exact, found = x.double().norm(), single_norm(x)
    assert 2e-4 < abs(found / exact - 1) < 1e-3
    assert single_norm(x[:1000]) == pytest.approx(float(x[:1000].double().norm()), rel=1e-6)
    assert single_norm(1.001 * x) / found == pytest.approx(1.001, rel=2e-5)
