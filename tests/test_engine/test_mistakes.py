"""What a person asks of a training and mmengine would pass over, or answer by a traceback."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from mmengine.config import Config
from torch import nn

from mmmtl.apis.runs import prepare
from mmmtl.apis.train import add_hooks, set_seed, train
from mmmtl.config import load_config
from mmmtl.engine.hooks import AtomicCheckpointHook
from mmmtl.engine.param_groups import check_paramwise
from mmmtl.engine.runners import check_watched
from mmmtl.errors import ConfigError
from mmmtl.utils.command_line import at_home

NETWORK = nn.ModuleDict(dict(backbone=nn.Linear(2, 2), decoder=nn.Linear(2, 2)))


@pytest.mark.parametrize(
    'options, words',
    [
        (dict(custom_keys=dict(bakbone=dict(lr_mult=0.1))), "no parameter's name holds 'bakbone'.* 'backbone'"),
        (
            dict(custom_keys=dict(backbone=dict(lrmult=0.1))),
            "custom_keys.backbone: there is no option 'lrmult'.*'lr_mult'",
        ),
        (dict(bias_lr_mul=2), "there is no option 'bias_lr_mul'.*'bias_lr_mult'"),
    ],
)
def test_options_of_single_parameters_that_change_nothing(options, words):
    with pytest.raises(ConfigError, match=words):
        check_paramwise(dict(paramwise_cfg=options), NETWORK)


def test_options_of_single_parameters_that_are_right(capsys):
    check_paramwise(dict(), NETWORK)
    check_paramwise(dict(paramwise_cfg=dict(norm_decay_mult=0, custom_keys={'decoder.b': dict(decay_mult=0)})), NETWORK)
    assert not ''.join(capsys.readouterr())
    check_paramwise(dict(paramwise_cfg=dict(custom_keys={'.gamma': dict(lr_mult=10)})), NETWORK)
    assert "no parameter's name holds '.gamma'" in ''.join(capsys.readouterr())


BAKBONE = dict(custom_keys=dict(bakbone=dict(lr_mult=0.1)))


@pytest.mark.parametrize(
    'options, words',
    [
        ({'optim_wrapper.paramwise_cfg': BAKBONE}, "no parameter's name holds 'bakbone'"),
        (
            {'optim_wrapper.paramwise_cfg': BAKBONE, 'runner_type': 'FlexibleRunner', 'visualizer': None},
            "no parameter's name holds 'bakbone'",
        ),
        ({'optim_wrapper.optimizer.betas': 0.9}, 'optim_wrapper: TypeError: .*float.* not subscriptable'),
        ({'optim_wrapper.type': 'AmpOptimWrapper'}, 'optim_wrapper: .*only available training on'),
        ({'train_pipeline.0': None}, 'train_dataloader: TypeError: transform must be a callable'),
        ({'auto_scale_lr.enable': True}, 'auto_scale_lr: Lack of `base_batch_size`'),
        ({'custom_hooks': [dict(type='EMAHook', momentum=2)]}, 'custom_hooks: momentum must be in range'),
        ({'default_hooks.checkpoint.save_best': 'depth/mIoU'}, "AtomicCheckpointHook: .* no 'depth/mIoU'.*semseg/mIoU"),
    ],
)
def test_what_other_libraries_refuse_is_told_with_its_section(tiny_config, tmp_path, options, words):
    with pytest.raises(ConfigError, match=words):
        train(load_config(tiny_config, options), str(tmp_path / 'work'))


def test_what_a_hook_watches_is_looked_for():
    metric = SimpleNamespace(greater_is_better={'depth/RMSE': False})
    runner = SimpleNamespace(
        val_loop=SimpleNamespace(evaluator=SimpleNamespace(metrics=[metric])),
        hooks=[AtomicCheckpointHook(save_best=['auto']), SimpleNamespace(monitor='depth/RMSE')],
    )
    check_watched(runner)
    runner.hooks.append(SimpleNamespace(monitor='depth/RMS'))
    with pytest.raises(ConfigError, match="no 'depth/RMS'. Did you mean 'depth/RMSE'"):
        check_watched(runner)


def test_hooks_are_switched_off_and_filled_in(tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    hooks = dict(panels=None, logger=None, timer=dict(type='IterTimerHook'))
    cfg = prepare(Config(dict(default_hooks=hooks, custom_hooks=[None], load_from='~/x.pth')), '~/work', 'none')
    assert cfg.work_dir == str(tmp_path / 'work') and cfg.load_from == str(tmp_path / 'x.pth')
    assert set(cfg.default_hooks) == {'logger', 'timer'} and cfg.custom_hooks == []
    add_hooks(cfg)
    assert cfg.default_hooks.param_scheduler.type == 'ScheduleHook', 'a longer run is not resumed at a rate of 0'
    assert cfg.default_hooks.checkpoint.type == 'AtomicCheckpointHook'


def test_going_on_and_deleting_are_not_asked_for_together(tiny_config, tmp_path):
    with pytest.raises(ConfigError, match='--resume goes on from what --overwrite deletes'):
        train(load_config(tiny_config), str(tmp_path), resume=True, overwrite=True)


def test_the_home_folder_behind_an_equals_sign(monkeypatch):
    monkeypatch.setenv('HOME', '/home/me')
    words = ['~/a', '--out=~/b', 'data_root=~/c', 'a~/d', '--x', '~']
    assert at_home(words) == ['/home/me/a', '--out=/home/me/b', 'data_root=/home/me/c', 'a~/d', '--x', '/home/me']


def test_the_seed_of_a_run_reaches_every_data_set_within_another():
    inner = [
        dict(type='Diorama', tasks={}),
        dict(type='RepeatDataset', times=2, dataset=dict(type='Diorama', tasks={})),
    ]
    cfg = Config(dict(train_dataloader=dict(dataset=dict(type='MixedDataset', datasets=inner))))
    set_seed(cfg, 7)
    first, second = cfg.train_dataloader.dataset.datasets
    assert cfg.randomness.seed == first.seed == second.dataset.seed == 7 and 'seed' not in second


def test_the_log_holds_no_remarks_on_mmengines_own_classes(trained):
    text = next(trained.glob('*/*.log')).read_text()
    assert 'Saving checkpoint' in text and 'FileClient' not in text


def test_two_runs_of_one_process_draw_into_folders_of_their_own(tiny_config, tmp_path):
    for name in ('a', 'b'):
        options = {'visualizer.name': 'visualizer', 'max_iters': 2}
        train(load_config(tiny_config, options), str(tmp_path / name))
        assert len(list((tmp_path / name).glob('*/vis_data/scalars.json'))) == 1
