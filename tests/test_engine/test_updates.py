"""Updates from several batches: as one large batch, by the schedule of the config, and kept by a resumed run."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseDataPreprocessor, BaseModel
from torch import nn

from mmmtl.engine.total_batch import fit_batch
from mmmtl.engine.updates import join_batches, mean_outputs
from mmmtl.errors import ConfigError
from mmmtl.registry import MODELS
from tests.test_engine.toy import config, state, train


@MODELS.register_module(force=True)
class LineModel(BaseModel):
    """Nothing random and no statistics of a batch: two halves of a batch give the gradient of the whole."""

    def __init__(self, data_preprocessor=None):
        super().__init__(data_preprocessor=BaseDataPreprocessor())
        self.layer = nn.Linear(4, 1)
        self.consumed = []

    def forward(self, inputs, data_samples=None, mode='tensor'):
        x = self.layer(torch.stack(list(inputs)).float() if isinstance(inputs, (list, tuple)) else inputs.float())
        if mode == 'predict':
            return [SimpleNamespace(out=out) for out in x]
        self.consumed.append([sample.draw for sample in data_samples])
        return dict(loss=(x - 1).square().mean())


def line(folder, iters, batch, accumulation, **changes):
    changes = {'train_dataloader__batch_size': batch, 'train_cfg__accumulation': accumulation, **changes}
    return train(config(folder, iters, model=dict(type='LineModel'), **changes))


def test_batches_of_an_update_are_one_large_batch_to_weights_schedule_and_data(tmp_path):
    whole, parts = line(tmp_path / 'whole', 5, 6, 1), line(tmp_path / 'parts', 5, 2, 3)
    torch.testing.assert_close(parts.model.layer.weight, whole.model.layer.weight)
    assert parts.model.consumed == [row[i : i + 2] for row in whole.model.consumed for i in (0, 2, 4)]
    assert parts.iter == whole.iter == 5 and parts.optim_wrapper.get_lr() == whole.optim_wrapper.get_lr()
    assert parts.optim_wrapper.optimizer.state_dict()['state'][0]['step'] == 5
    saved, hub = torch.load(tmp_path / 'parts' / 'iter_5.pth'), whole.message_hub
    assert saved['message_hub']['runtime_info']['train_stream']['consumed'] == 30
    means = [runner.message_hub.get_scalar('train/loss').data[0] for runner in (parts, whole)]
    assert hub is not parts.message_hub and means[0] == pytest.approx(means[1], rel=1e-5)


@pytest.mark.parametrize(
    'options', [dict(train_cfg__max_iters=None, train_cfg__max_epochs=2, train_cfg__val_interval=1)]
)
def test_an_epoch_has_as_many_steps_as_there_are_total_batches(tmp_path, options):
    assert line(tmp_path, 1, 2, 2, **options).iter == 2 * (10 // 4)


def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(tmp_path):
    changes = dict(train_cfg__accumulation=2)
    unbroken = train(config(tmp_path / 'unbroken', 8, **changes))
    train(config(tmp_path / 'resumed', 3, **changes))  # an odd number: no update is cut in two
    resumed = train(config(tmp_path / 'resumed', 8, resume=True, **changes))
    assert resumed.model.consumed[:2] == [[18, 19, 20], [21, 22, 23]]
    first, second = state(unbroken), state(resumed)
    assert [name for name in first if not torch.equal(first[name], second[name])] == []


def test_a_resumed_run_may_make_the_same_update_of_other_batches(tmp_path, caplog):
    unbroken = line(tmp_path / 'unbroken', 6, 6, 1)
    line(tmp_path / 'resumed', 3, 6, 1)
    resumed = line(tmp_path / 'resumed', 6, 3, 2, resume=True, log_level='INFO')
    torch.testing.assert_close(resumed.model.layer.weight, unbroken.model.layer.weight)
    assert resumed.model.consumed[0] == [18, 19, 20]


@pytest.mark.parametrize(
    ('before', 'after', 'words'),
    [
        (dict(train_cfg__accumulation=2), {}, 'updates of 6 samples .* with 3 samples .* train_cfg.accumulation=2 '),
        ({}, dict(train_cfg__accumulation=3), 'with 9 samples .* train_cfg.accumulation=1 '),
        (dict(optim_wrapper__accumulative_counts=2), {}, 'accumulation=1 optim_wrapper.accumulative_counts=2 keep it'),
        (
            dict(train_cfg__accumulation=2),
            dict(train_dataloader__batch_size=5),
            'another batch_size or number of processes keeps it',
        ),
        (
            dict(optim_wrapper__accumulative_counts=2),
            dict(train_cfg__accumulation=2),
            'train_cfg.accumulation=1 optim_wrapper.accumulative_counts=2',
        ),
    ],
)
def test_a_changed_accumulation_is_refused(tmp_path, before, after, words):
    train(config(tmp_path, 2, **before))
    with pytest.raises(ConfigError, match=words):
        train(config(tmp_path, 4, resume=True, **after))


def test_another_batch_size_is_told(tmp_path):
    train(config(tmp_path, 2))
    train(config(tmp_path, 4, resume=True, train_dataloader__batch_size=5, log_level='WARNING'))
    log = ''.join(path.read_text() for path in tmp_path.glob('*/*.log'))
    assert 'updates of 3 samples (1 batch(es) of every process); from here on they are of 5' in log


def test_both_ways_of_accumulating_multiply(tmp_path):
    runner = line(tmp_path, 4, 2, 2, optim_wrapper__accumulative_counts=2)
    assert runner.optim_wrapper.optimizer.state_dict()['state'][0]['step'] == 2 and len(runner.model.consumed) == 8


def test_a_dropped_batch_leaves_the_others_and_averages_follow_the_step(tmp_path):
    hooks = [
        dict(type='RandomStateHook'),
        dict(type='NonFiniteLossHook', mode='skip'),
        dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.5),
    ]
    changes = dict(train_cfg__accumulation=2, custom_hooks=hooks, model__poison=(1,))
    runner = train(config(tmp_path, 1, **changes))
    ema = next(hook for hook in runner.hooks if type(hook).__name__ == 'EMAHook').ema_model
    assert int(ema.steps) == 1


@pytest.mark.parametrize('wrong', [0, -1, 1.5])
def test_a_wrong_number_is_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match='train_cfg.accumulation must be a whole number'):
        train(config(tmp_path, 1, train_cfg__accumulation=wrong))


def test_samples_and_losses_of_an_update_together():
    one, two = dict(inputs=torch.zeros(2, 3), data_samples=['a']), dict(inputs=torch.ones(1, 3), data_samples=['b'])
    joined = join_batches([one, two])
    assert joined['inputs'].shape == (3, 3) and joined['data_samples'] == ['a', 'b']
    assert join_batches([one]) is one and join_batches([[1], [2]]) == [[1], [2]]
    losses = mean_outputs([dict(a=torch.tensor(1.0)), dict(a=torch.tensor(3.0), b=torch.tensor(5.0))])
    assert {k: float(v) for k, v in losses.items()} == dict(a=2.0, b=5.0)


@pytest.mark.parametrize(
    ('processes', 'changes', 'expected'),
    [
        (1, {}, 2),
        (2, {}, None),  # it is the total already
        (3, {}, None),  # it does not divide
        (8, {}, None),
        (1, {'train_cfg.accumulation': 1}, None),
        (1, {'optim_wrapper.accumulative_counts': 1}, None),
        (1, {'auto_scale_lr.enable': True}, None),
        (1, {'train_cfg.type': 'IterBasedTrainLoop'}, None),
        (1, {'auto_scale_lr.base_batch_size': 16}, 8),
    ],
)
def test_the_total_of_the_config_is_reached_where_it_can_be(processes, changes, expected):
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=2, batch_sampler=dict(type='TaskCycleBatchSampler', accumulation=1)),
            train_cfg=dict(type='ResumableTrainLoop', max_iters=4),
            optim_wrapper=dict(type='OptimWrapper'),
            auto_scale_lr=dict(enable=False, base_batch_size=4),
        )
    )
    cfg.merge_from_dict(changes)
    runner = SimpleNamespace(
        world_size=processes, _train_loop=dict(cfg.train_cfg), _train_dataloader=cfg.train_dataloader.to_dict()
    )
    fit_batch(cfg, runner)
    if expected is None:
        assert runner._train_loop == cfg.train_cfg
    else:
        assert runner._train_loop['accumulation'] == expected
        assert runner._train_dataloader['batch_sampler']['accumulation'] == expected


@pytest.mark.parametrize(('accumulation', 'counts', 'base'), [(None, None, 4), (2, None, 2), (None, 4, 1), (2, 2, 1)])
def test_a_learning_rate_that_follows_the_batch_follows_that_of_an_update(accumulation, counts, base):
    cfg = Config(
        dict(
            train_dataloader=dict(batch_size=2),
            train_cfg=dict(type='ResumableTrainLoop', accumulation=accumulation),
            optim_wrapper=dict(type='OptimWrapper', **({} if counts is None else dict(accumulative_counts=counts))),
            auto_scale_lr=dict(enable=True, base_batch_size=4),
        )
    )
    runner = SimpleNamespace(world_size=1, _train_loop=cfg.train_cfg, auto_scale_lr=cfg.auto_scale_lr)
    fit_batch(cfg, runner)
    assert runner.auto_scale_lr['base_batch_size'] == base and runner.auto_scale_lr['enable']
    sharded = SimpleNamespace(world_size=1, strategy=SimpleNamespace(_auto_scale_lr=cfg.auto_scale_lr))
    fit_batch(cfg, sharded)
    assert sharded.strategy._auto_scale_lr['base_batch_size'] == base
