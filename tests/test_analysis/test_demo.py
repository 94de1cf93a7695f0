"""The demo trains by the ordinary config, and predicts no image twice by the same weights."""

from __future__ import annotations

import pytest

from mmmtl.analysis import demo


@pytest.fixture
def seen(monkeypatch, tmp_path):
    """What the demo trains and tests, without doing it."""
    calls = {}
    (tmp_path / 'last_checkpoint').write_text('iter_1.pth')
    monkeypatch.setattr(demo, 'train', lambda cfg, folder: calls.setdefault('train', cfg))
    monkeypatch.setattr(demo, 'test', lambda cfg, *a, **k: calls.setdefault('test', cfg) and {'depth/RMSE': 1.0})
    monkeypatch.setattr(demo, 'plot_logs', lambda *a: None)
    monkeypatch.setattr(demo, 'read_log', lambda *a: None)
    monkeypatch.setattr(demo, 'best_constants', lambda dataset: {'depth/RMSE': 2.0})
    return calls


def test_what_is_tested_is_not_validated_before(seen, tmp_path):
    demo.run_demo('mmmtl::taskdiffusion/vitt_diorama', str(tmp_path), {'max_iters': 3})
    assert seen['train'].val_cfg is None and seen['train'].val_dataloader is None
    assert seen['test'].test_dataloader.dataset.length == 120 and seen['train'].max_iters == 3


def test_a_validation_that_is_asked_for_stays(seen, tmp_path):
    demo.run_demo('mmmtl::taskdiffusion/vitt_diorama', str(tmp_path), {'val_dataloader.dataset.length': 4})
    assert seen['train'].val_cfg is not None and seen['train'].val_dataloader.dataset.length == 4
