"""Options as people write them: right, or an error of one line."""

from __future__ import annotations

import argparse

import pytest

from mmmtl.config import check_config, load_config
from mmmtl.errors import ConfigError
from mmmtl.utils.command_line import OptionAction, parse_value


@pytest.mark.parametrize(
    'text, value',
    [
        ('3', 3),
        ('2e-5', 2e-5),
        ('true', True),
        ('None', None),
        ('/a/my data', '/a/my data'),
        ("'/a/my data'", '/a/my data'),
        ('"a, b"', 'a, b'),
        ("it's", "it's"),
        ('[depth, semseg]', ['depth', 'semseg']),
        ('1,2', [1, 2]),
        ('a,b', ['a', 'b']),
        ('(96, 96)', (96, 96)),
        ('[(0, 1), (a, 2)]', [(0, 1), ('a', 2)]),
        ('{type: SGD, lr: 0.1}', {'type': 'SGD', 'lr': 0.1}),
        ('{"type": "SGD", "nesterov": true}', {'type': 'SGD', 'nesterov': True}),
        ('dict(type=SGD, betas=(0.9, 0.99), b=dict())', {'type': 'SGD', 'betas': (0.9, 0.99), 'b': {}}),
        ('http://host:80/a=b', 'http://host:80/a=b'),
        ('', ''),
    ],
)
def test_values(text, value):
    assert parse_value(text) == value and type(parse_value(text)) is type(value)


@pytest.mark.parametrize('words', [['max_iters'], ['=3'], ['a=[1'], ["a='x"], ['a=dict(b)'], ['b=1', 'a={x}']])
def test_words_that_are_no_options_end_in_one_line(words, capsys):
    parser = argparse.ArgumentParser(prog='tool')
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    with pytest.raises(SystemExit) as ended:
        parser.parse_args(['--cfg-options', *words])
    printed = capsys.readouterr().err
    assert ended.value.code == 2 and printed.startswith('tool: error: --cfg-options:') and printed.count('\n') == 1


def test_several_words_and_several_times():
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=OptionAction)
    args = parser.parse_args(['--cfg-options', 'a=1', 'b.c=x', '--cfg-options', 'd=[1]'])
    assert args.cfg_options == {'a': 1, 'b.c': 'x', 'd': [1]}


def test_a_type_and_its_arguments_change_together(tiny_config):
    options = {'optim_wrapper.optimizer.type': 'SGD', 'optim_wrapper.optimizer.momentum': 0.9}
    for given in (
        options,
        dict(reversed(options.items())),
        {'optim_wrapper.optimizer': dict(type='SGD', momentum=0.9)},
    ):
        cfg = load_config(tiny_config, given)
        check_config(cfg, files=False)
        assert cfg.optim_wrapper.optimizer == dict(type='SGD', lr=1e-3, momentum=0.9)
    with pytest.raises(ConfigError, match="no 'momentun' in optim_wrapper.optimizer. Did you mean 'momentum'"):
        load_config(tiny_config, {**options, 'optim_wrapper.optimizer.momentun': 0.9})


@pytest.mark.parametrize(
    'options, words',
    [
        ({'max_iters': 'abc'}, "'max_iters=abc': the config has 4 there; a number is expected"),
        ({'train_cfg.max_iters': 'abc'}, 'a number is expected'),
        ({'train_dataloader.batch_size': 'x'}, 'a number is expected'),
        ({'model': 'abc'}, 'a mapping is expected'),
        ({'tasks': 3}, 'a mapping is expected'),
        ({'train_pipeline': 'abc'}, 'a list is expected'),
        ({'size': 'abc'}, 'a list is expected'),
        ({'default_scope': 3}, 'text is expected'),
        ({'model.decoder': {'chanels': 3}}, "no 'chanels' in model.decoder. Did you mean 'channels'"),
        ({'model.decoder': {}}, "'model.decoder={}' changes nothing"),
        ({'log_processor.by_epoch': 'maybe'}, 'true or false is expected'),
    ],
)
def test_values_of_another_kind_are_refused(tiny_config, options, words):
    with pytest.raises(ConfigError) as error:
        load_config(tiny_config, options)
    assert words in str(error.value)


def test_a_section_that_is_switched_off_has_no_options(tiny_config):
    """Which of the two came last decided it, or a section of that option alone was left."""
    both = {'val_dataloader': None, 'val_dataloader.num_workers': 0}
    for options in (both, dict(reversed(both.items()))):
        with pytest.raises(ConfigError, match="'val_dataloader=None' leaves nothing for 'val_dataloader.num_workers'"):
            load_config(tiny_config, options)


def test_whole_numbers_written_as_floats_are_whole(tiny_config):
    assert repr(load_config(tiny_config, {'max_iters': 1e1}).train_cfg.max_iters) == '10'


def test_delete_replaces_a_mapping(tiny_config):
    cfg = load_config(tiny_config, {'model.decoder': dict(_delete_=True, type='PlainDecoder', channels=5)})
    assert cfg.model.decoder == dict(type='PlainDecoder', channels=5)
    whole = {'model.decoder': dict(_delete_=True, type='XTC')}
    for options in ({**whole, 'model.decoder.weight': 3.0}, {'model.decoder.weight': 3.0, **whole}):
        assert load_config(tiny_config, options).model.decoder == dict(type='XTC', weight=3.0)
    assert load_config(load_config(tiny_config, whole), {'model.decoder.weight': 3.0}).model.decoder.weight == 3.0
    whole = {'tasks.depth': dict(_delete_=True, type='Depth'), 'tasks.depth.loss_weight': 2.0}
    assert load_config(tiny_config, whole).model.tasks.depth == dict(type='Depth', loss_weight=2.0)


def test_a_hook_of_mmengine_takes_a_plain_mapping_with_a_type(tiny_config):
    cfg = load_config(tiny_config)
    cfg.custom_hooks = [dict(type='ProfilerHook', on_trace_ready=dict(type='log_trace'))]
    check_config(cfg, files=False)


def test_a_loop_by_epochs_refuses_a_stream_without_end(tiny_config):
    cfg = load_config(tiny_config)
    cfg.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
    with pytest.raises(ConfigError, match='samples without end.*ResumableTrainLoop.*max_epochs.*DefaultSampler'):
        check_config(cfg, files=False)
    cfg.train_dataloader.sampler = dict(type='DefaultSampler', shuffle=True)
    check_config(cfg, files=False)


PLUGIN = """
import torch
from mmmtl.models.baselines import PlainDecoder
from mmmtl.registry import MODELS


@MODELS.register_module()
class Head(torch.nn.Module):
    def __init__(self, width=3):
        super().__init__()


@MODELS.register_module()
class PlannedDecoder(PlainDecoder):
    def __init__(self, schedule=None, head=None, more=(), **kwargs):
        super().__init__(**kwargs)
        self.schedule = schedule
        self.head = MODELS.build(dict(head, width=2))
        self.more = torch.nn.ModuleList(MODELS.build(one) for one in more)
"""


@pytest.fixture
def planned(tmp_path, tiny_config, monkeypatch):
    """The tiny config with a decoder of another package, which takes a plan as it is and builds its heads."""
    from mmmtl.registry import MODELS

    (tmp_path / 'planned_decoder.py').write_text(PLUGIN)
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = load_config(tiny_config)
    cfg.custom_imports = dict(imports=['planned_decoder'])
    decoder = dict(
        cfg.model.decoder, type='PlannedDecoder', schedule=dict(type='cosine', steps=10), head=dict(type='Head')
    )
    cfg.model.decoder = decoder
    cfg = load_config(cfg, {'randomness.seed': 1})
    __import__('planned_decoder')
    yield cfg
    import sys

    sys.modules.pop('planned_decoder')
    for name in ('Head', 'PlannedDecoder'):
        MODELS.module_dict.pop(name)


def test_a_mapping_with_a_type_is_a_component_only_where_its_class_builds_it(planned):
    from mmmtl.apis.model import build_model

    check_config(planned, files=False)
    assert build_model(planned).decoder.schedule == dict(type='cosine', steps=10)


@pytest.mark.parametrize(
    'change, words',
    [
        ({'head': dict(type='Haed')}, "model.decoder.head.type='Haed' is not in the registry .*'Head'"),
        ({'head': dict(type='Head', witdh=3)}, "model.decoder.head.witdh=3: Head takes no argument 'witdh'.*'width'"),
        ({'more': [dict(type='Head'), dict(type='Hed')]}, "model.decoder.more.1.type='Hed'.*'Head'"),
        ({'shedule': 3}, "model.decoder.shedule=3: PlannedDecoder takes no argument.*'schedule'"),
        ({'chanels': 3}, "'channels'"),
    ],
)
def test_what_a_foreign_class_builds_is_checked(planned, change, words):
    planned.model.decoder.update(change)
    with pytest.raises(ConfigError, match=words):
        check_config(planned, files=False)
