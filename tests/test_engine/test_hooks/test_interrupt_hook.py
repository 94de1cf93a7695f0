"""InterruptHook: a validation that was cut off is due again, also where its iteration had been saved already."""

from __future__ import annotations

import signal

import pytest
import torch

from mmmtl.engine import AtomicCheckpointHook
from mmmtl.engine.hooks import Interrupted, interrupt_hook
from tests.test_engine.test_hooks.test_checkpoint_hook import log
from tests.test_engine.toy import ToyMetric, config, train


@pytest.fixture(autouse=True)
def no_signals(monkeypatch):
    monkeypatch.setattr(interrupt_hook, '_received', [])


def test_no_checkpoint_within_an_epoch(tmp_path, monkeypatch):
    """It would be the newest by its name, whatever comes after it."""
    hook = dict(interval=1, by_epoch=True, save_best=None)
    run = config(tmp_path, 9, param_scheduler=None, **{f'default_hooks__checkpoint__{k}': v for k, v in hook.items()})
    run.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=3)
    run.train_dataloader.update(sampler=dict(type='DefaultSampler'), drop_last=True)
    run.custom_hooks = [dict(type='InterruptHook')]
    after = AtomicCheckpointHook.after_train_iter

    def ask(self, runner, *args, **options):
        interrupt_hook._received[:] = [(signal.SIGTERM, 0.0)] * (runner.iter == 4)
        after(self, runner, *args, **options)

    monkeypatch.setattr(AtomicCheckpointHook, 'after_train_iter', ask)
    with pytest.raises(Interrupted):
        train(run)
    assert [path.name for path in tmp_path.glob('*.pth')] == ['epoch_1.pth']
    assert f'after 5 iterations; --resume goes on from {tmp_path}/epoch_1.pth' in log(tmp_path)


@pytest.mark.parametrize('interval', [2, 3])
def test_a_validation_that_was_cut_off_is_due_again(tmp_path, monkeypatch, interval):
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
