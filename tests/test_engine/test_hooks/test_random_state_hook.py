"""RandomStateHook: what it saves and restores, and what it says when it cannot. Equality of runs: ``test_loops.py``."""

from __future__ import annotations

import random

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmmtl.engine import RandomStateHook
from mmmtl.engine.random_state import capture
from tests.test_engine.test_hooks.test_checkpoint_hook import log
from tests.test_engine.toy import config, train

MMENGINES = dict(train_cfg__type='IterBasedTrainLoop')
"""A loop that does not announce its batches: resumed from the states that were saved."""


def test_state_of_the_moment_of_saving(tmp_path):
    runner = train(config(tmp_path, 2, default_hooks__checkpoint__save_best=None))
    saved = torch.load(tmp_path / 'iter_2.pth')['random_state']['ranks']
    now = capture(runner.model)
    assert len(saved) == 1 and torch.equal(saved[0]['torch'], now['torch'])
    assert torch.equal(saved[0]['numpy'][1], now['numpy'][1]) and torch.equal(saved[0]['python'][1], now['python'][1])
    assert torch.equal(saved[0]['noise'][''], now['noise'][''])


def test_saved_by_mmengines_hook_too(tmp_path):
    """One rank needs no announcement before a save."""
    plain = dict(type='CheckpointHook', by_epoch=False, interval=2, _delete_=True)
    cfg = config(tmp_path, 2, default_hooks__checkpoint=plain)
    train(cfg)
    assert len(torch.load(tmp_path / 'iter_2.pth', weights_only=False)['random_state']['ranks']) == 1


def test_noise_is_seeded_by_the_run(tmp_path):
    states = [
        train(config(tmp_path / str(n), 1, randomness__seed=seed)).model.noise_source.generator.get_state()
        for n, seed in enumerate((1, 1, 2))
    ]
    assert torch.equal(states[0], states[1]) and not torch.equal(states[0], states[2])


def test_finetuning_draws_anew(tmp_path):
    """Loading weights is not resuming: the state in the file is left alone."""
    train(config(tmp_path / 'first', 2))
    cfg = config(tmp_path / 'second', 1, load_from=str(tmp_path / 'first' / 'iter_2.pth'), randomness__seed=9)
    fresh = config(tmp_path / 'third', 1, randomness__seed=9)
    first, second = train(cfg), train(fresh)
    assert torch.equal(first.model.noise_source.generator.get_state(), second.model.noise_source.generator.get_state())


def test_says_what_it_cannot_restore(tmp_path):
    train(config(tmp_path, 2, **MMENGINES))
    path = tmp_path / 'iter_2.pth'
    checkpoint = torch.load(path)
    checkpoint['random_state']['ranks'][0]['noise'] = {}
    torch.save(checkpoint, path)
    train(config(tmp_path, 3, resume=True, **MMENGINES))
    assert "fresh random numbers: the checkpoint holds no state for the noise sources of ['']" in log(tmp_path)
    checkpoint = torch.load(tmp_path / 'iter_3.pth')
    checkpoint['random_state']['ranks'] = []
    torch.save(checkpoint, tmp_path / 'iter_3.pth')
    train(config(tmp_path, 4, resume=True, **MMENGINES))
    assert 'random_state: expected the states of all ranks' in log(tmp_path)


def test_validation_alone_is_harmless(tmp_path):
    """``runner.val()`` outside training: the hook's points run in any order."""
    hook = RandomStateHook()
    hook.after_val(None)
    assert hook._before_val is None


def test_mmengines_loop_resumes_from_the_states(tmp_path):
    unbroken = train(config(tmp_path / 'unbroken', 4, **MMENGINES))
    train(config(tmp_path / 'resumed', 2, **MMENGINES))
    resumed = train(config(tmp_path / 'resumed', 4, resume=True, **MMENGINES))
    before, after = capture(unbroken.model), capture(resumed.model)
    assert torch.equal(before['torch'], after['torch']) and torch.equal(before['noise'][''], after['noise'][''])


def test_batches_are_seeded_by_their_place(tmp_path):
    """Not by what was drawn before: the third batch meets the same noise where another hook draws in between."""

    class Draws(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            torch.rand(batch_idx + 1), np.random.rand(3), random.random()

    cfg = config(tmp_path / 'b', 3)
    one = train(config(tmp_path / 'a', 3))
    torch.manual_seed(0)
    other = Runner.from_cfg(cfg)
    other.register_hook(Draws(), 'LOWEST')
    other.train()
    for name, value in one.model.state_dict().items():
        assert torch.equal(value, other.model.state_dict()[name]), name
