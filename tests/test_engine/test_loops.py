"""Resume: a run that was interrupted ends exactly where the unbroken run ends."""

from __future__ import annotations

import itertools

import pytest
import torch
from mmengine.runner import Runner
from torch.utils.data import Sampler

from mmmtl.engine import SampleIndex
from mmmtl.errors import ConfigError
from mmmtl.registry import DATA_SAMPLERS, LOOPS
from tests.distributed import run_ranks
from tests.test_engine.toy import config, state, train, train_rank


def differing(first: dict, second: dict) -> list[str]:
    assert first.keys() == second.keys()
    return [name for name in first if not torch.equal(first[name], second[name])]


def interrupted(folder, stop: int, **changes) -> Runner:
    """Train to ``stop``, then resume and train to 8 in a new runner."""
    train(config(folder, stop, **changes))
    return train(config(folder, 8, resume=True, **changes))


CASES = {
    'plain': {},
    'workers': dict(train_dataloader__num_workers=2, train_dataloader__persistent_workers=True),
    'accumulation': dict(optim_wrapper__accumulative_counts=2),
    'clip': dict(optim_wrapper__clip_grad=dict(max_norm=0.1)),
    'bfloat16': dict(optim_wrapper__type='AutocastOptimWrapper'),
    'ema': dict(custom_hooks=[dict(type='RandomStateHook'), dict(type='EMAHook', ema_type='ExponentialMovingAverage')]),
    'no seed': dict(randomness=dict(seed=None)),
    'seed by rank': dict(randomness=dict(seed=5, diff_rank_seed=True)),
}


@pytest.mark.parametrize('case', CASES)
def test_resumed_equals_unbroken_bit_for_bit(tmp_path, case):
    changes = CASES[case]
    if case == 'no seed':  # the same unknown seed for both: the one that the interrupted run drew and saved
        seed = interrupted(tmp_path / 'seed', 4, **changes)
        torch.manual_seed(0)
        unbroken = train(config(tmp_path / 'unbroken', 8, randomness=dict(seed=seed.seed)))
        assert differing(state(unbroken), state(seed)) == []
        return
    unbroken = state(train(config(tmp_path / 'unbroken', 8, **changes)))
    resumed = interrupted(tmp_path / 'resumed', 4, **changes)
    assert differing(unbroken, state(resumed)) == []
    assert resumed.model.consumed == [[12, 13, 14], [15, 16, 17], [18, 19, 20], [21, 22, 23]]


def test_a_validation_between_save_and_stop_changes_nothing(tmp_path):
    """Validation at 3 and 6 draws; stopping at 6 saves before it, and the best checkpoint is saved during it."""
    unbroken = state(train(config(tmp_path / 'unbroken')))
    assert differing(unbroken, state(interrupted(tmp_path / 'resumed', 6))) == []


def test_resumed_from_what_was_saved_during_a_validation(tmp_path):
    """A new best at 3 saves iter_3.pth again from inside the validation, after the metric has drawn."""
    everything = dict(default_hooks__checkpoint__max_keep_ckpts=-1)
    unbroken = state(train(config(tmp_path / 'unbroken', **everything)))
    resumed = train(config(tmp_path / 'resumed', 8, resume=True, load_from=str(tmp_path / 'unbroken' / 'iter_3.pth')))
    assert resumed.model.consumed[0] == [9, 10, 11] and differing(unbroken, state(resumed)) == []


def test_how_often_one_validates_does_not_change_what_is_trained(tmp_path):
    often, never = (
        state(train(config(tmp_path / str(interval), 8, train_cfg__val_interval=interval))) for interval in (1, 100)
    )
    assert differing(often, never) == []


def test_without_the_random_state_it_would_differ(tmp_path):
    """The control: the test above can fail."""
    unbroken = state(train(config(tmp_path / 'unbroken', custom_hooks=[])))
    assert 'model.body.0.weight' in differing(unbroken, state(interrupted(tmp_path / 'resumed', 4, custom_hooks=[])))


def test_past_batches_are_not_loaded_again(tmp_path):
    resumed = interrupted(tmp_path, 4)
    assert min(resumed.train_dataloader.dataset.loaded) == 12


def test_another_batch_size_goes_on_in_the_stream(tmp_path):
    train(config(tmp_path, 4))
    resumed = train(config(tmp_path, 6, resume=True, train_dataloader__batch_size=5))
    assert resumed.model.consumed == [[12, 13, 14, 15, 16], [17, 18, 19, 20, 21]]
    assert torch.load(tmp_path / 'iter_6.pth')['message_hub']['runtime_info']['train_stream']['consumed'] == 22


class Pairs(Sampler):
    """A batch sampler of its own: pairs of one sample, with a place to start at."""

    def __init__(self, sampler, batch_size, drop_last=False):
        self.sampler, self.batch_size, self.seed, self.start = sampler, batch_size, 0, 0

    def set_start(self, position):
        self.start = position

    def __len__(self):
        return 5

    def __iter__(self):
        for n in itertools.count(self.start // 2):
            yield [SampleIndex(n % 10, 2 * n), SampleIndex(n % 10, 2 * n + 1)]


def test_a_batch_sampler_is_started_too(tmp_path):
    changes = dict(train_dataloader__batch_size=2, train_dataloader__batch_sampler=dict(type='Pairs'))
    DATA_SAMPLERS.register_module(module=Pairs, force=True)
    unbroken = train(config(tmp_path / 'unbroken', 8, **changes))
    resumed = interrupted(tmp_path / 'resumed', 4, **changes)
    assert resumed.model.consumed == unbroken.model.consumed[4:] == [[8, 9], [10, 11], [12, 13], [14, 15]]
    assert min(resumed.train_dataloader.dataset.loaded) == 8 and differing(state(unbroken), state(resumed)) == []


def test_a_sampler_without_start_is_replayed(tmp_path):
    changes = dict(train_dataloader__sampler=dict(type='InfiniteSampler', _delete_=True))
    resumed = interrupted(tmp_path, 4, **changes)
    assert len(resumed.train_dataloader.dataset.loaded) == 8 * 3 and len(resumed.model.consumed) == 4


def test_a_finite_loader_starts_again_with_the_next_pass(tmp_path):
    changes = dict(
        train_dataloader__sampler=dict(type='DefaultSampler', shuffle=True, _delete_=True),
        train_dataloader__dataset__size=11,
    )
    runner = train(config(tmp_path, 8, **changes))
    assert [len(batch) for batch in runner.model.consumed] == [3, 3, 3, 2, 3, 3, 3, 2]
    assert runner.train_dataloader.sampler.epoch == 1


def test_a_checkpoint_of_mmengines_loop(tmp_path, caplog):
    """One without place in the stream or random state: goes on by the iteration's number, with the noise of that place."""
    train(config(tmp_path, 4))
    path = tmp_path / 'iter_4.pth'
    checkpoint = torch.load(path)
    del checkpoint['random_state'], checkpoint['message_hub']['runtime_info']['train_stream']
    del checkpoint['message_hub']['resumed_keys']['train_stream']
    torch.save(checkpoint, path)
    resumed = train(config(tmp_path, 5, resume=True))
    assert resumed.model.consumed == [[12, 13, 14]]
    unbroken = train(config(tmp_path / 'unbroken', 5))
    assert differing(state(unbroken), state(resumed)) == []


def test_early_stopping(tmp_path):
    stop = dict(type='EarlyStoppingHook', monitor='score', rule='less', patience=1, min_delta=1e9)
    runner = train(config(tmp_path, 50, train_cfg__val_interval=1, custom_hooks=[stop]))
    assert runner.iter < 5


def test_a_set_smaller_than_a_batch_is_told_and_does_not_hang(tmp_path):
    cfg = config(tmp_path, 2)
    cfg['train_dataloader'].update(batch_size=1000, drop_last=True, sampler=dict(type='DefaultSampler'))
    with pytest.raises(ConfigError, match='gives no batch.*drop_last=False'):
        train(cfg)


@pytest.mark.parametrize('value', [0, -2])
def test_bad_val_interval(tmp_path, value):
    with pytest.raises(ConfigError, match=f'val_interval must be a whole number > 0, got {value}'):
        train(config(tmp_path, 2, train_cfg__val_interval=value))


@pytest.mark.parametrize('value', [0, 2.5])
def test_bad_max_iters(tmp_path, value):
    with pytest.raises(ConfigError, match=f'max_iters must be a whole number > 0, got {value}'):
        train(config(tmp_path, value))
    assert LOOPS.get('ResumableTrainLoop').__module__ == 'mmmtl.engine.loops'


def test_two_ranks(tmp_path):
    """The same on two processes; every rank has its own random state, and the two see different samples."""
    changes = dict(optim_wrapper__accumulative_counts=2, randomness=dict(seed=5, diff_rank_seed=True))

    def launch(folder, iters, **more):
        results = run_ranks(train_rank, 2, config(folder, iters, **changes, **more))
        assert all(ok for ok, _ in results), results
        return [ended for _, ended in results]

    unbroken = launch(tmp_path / 'unbroken', 8)
    launch(tmp_path / 'resumed', 4)
    resumed = launch(tmp_path / 'resumed', 8, resume=True)
    for before, after in zip(unbroken, resumed):
        assert differing(before, after) == []
    assert torch.equal(unbroken[0]['model.body.0.weight'], unbroken[1]['model.body.0.weight'])
    assert not torch.equal(unbroken[0]['torch'], unbroken[1]['torch'])
    assert not torch.equal(unbroken[0]['noise.'], unbroken[1]['noise.'])


def test_two_ranks_resumed_on_one(tmp_path):
    """Goes on at the same place in the data, and says which random states are missing."""
    assert all(ok for ok, _ in run_ranks(train_rank, 2, config(tmp_path, 4)))
    resumed = train(config(tmp_path, 6, resume=True))
    assert resumed.model.consumed == [[24, 25, 26], [27, 28, 29]]
    one = tmp_path / 'one'
    train(config(one, 4))
    results = run_ranks(train_rank, 2, config(one, 5, resume=True))
    assert all(ok for ok, _ in results), results


@pytest.mark.parametrize('batch, expected', [(2, 15), (4, 6)])
def test_epochs_are_counted_in_whole_batches_and_with_them_validations_and_the_schedule(tmp_path, batch, expected):
    """Three epochs of the toy's 10 samples: 5 batches of 2 each, or 2 of 4."""
    changes = dict(train_cfg__max_iters=None, train_cfg__max_epochs=3, train_cfg__val_interval=None)
    changes['train_dataloader__batch_size'] = batch
    schedule = [dict(type='EpochPolyLR', epochs=3, by_epoch=False)]
    runner = train(config(tmp_path, 1, param_scheduler=schedule, **changes))
    assert runner.iter == runner.max_iters == expected
    assert runner.param_schedulers[0].epoch_length == runner.train_loop.val_interval == expected // 3
