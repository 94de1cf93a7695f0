"""InterruptHook: a validation that was cut off is due again, also where its iteration had been saved already."""

from __future__ import annotations

import signal

import pytest
import torch

from mmmtl.engine.hooks import Interrupted, interrupt_hook
from tests.test_engine.toy import ToyMetric, config, train


@pytest.mark.parametrize('interval', [2, 3])
def test_a_validation_that_was_cut_off_is_due_again(tmp_path, monkeypatch, interval):
    monkeypatch.setattr(interrupt_hook, '_received', [])
    process = ToyMetric.process

    def ask(self, *args):
        interrupt_hook._received[:] = [(signal.SIGTERM, 0.0)]
        process(self, *args)

    monkeypatch.setattr(ToyMetric, 'process', ask)
    run = config(tmp_path, 6, default_hooks__checkpoint__interval=interval)
    run.custom_hooks = [*run.custom_hooks, dict(type='InterruptHook')]
    with pytest.raises(Interrupted):
        train(run)
    saved = torch.load(tmp_path / 'iter_3.pth', weights_only=True)
    assert saved['message_hub']['runtime_info']['validation_due'] is True
