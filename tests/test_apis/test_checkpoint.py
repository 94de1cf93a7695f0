"""A checkpoint that does not fit is refused with what is wrong and what to do."""

from __future__ import annotations

import json
import os
import pickle
import re

import pytest
import torch
from mmengine.config import Config
from safetensors.torch import save_file

from mmmtl.apis import init_model, load_checkpoint
from mmmtl.apis.checkpoint import compare_state, read_checkpoint
from mmmtl.apis.train import check_start
from mmmtl.errors import CheckpointError


@pytest.fixture
def model(tiny_config):
    return init_model(tiny_config)


def other(value):
    """A tensor that certainly differs."""
    return value + 1 if value.is_floating_point() else value


@pytest.mark.parametrize('form', ['pth', 'bare.pth', 'ddp.pth', 'safetensors'])
def test_what_was_saved_is_loaded(model, tmp_path, form):
    state = {k: other(v) for k, v in model.state_dict().items()}
    path = tmp_path / f'weights.{form}'
    if form == 'safetensors':
        save_file({k: v.contiguous() for k, v in state.items()}, path)
    elif form == 'ddp.pth':
        torch.save({'state_dict': {f'module.{k}': v for k, v in state.items()}, 'meta': {}}, path)
    else:
        torch.save(state if form == 'bare.pth' else {'state_dict': state}, path)
    load_checkpoint(model, str(path))
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_numbers_of_another_kind_are_refused_and_those_that_are_none_are_told(model, tmp_path, monkeypatch):
    state = model.state_dict()
    name = next(iter(state))
    torch.save({**state, name: state[name].long()}, tmp_path / 'whole.pth')
    with pytest.raises(CheckpointError, match=f'of another shape: {name} .* of int64 instead of'):
        load_checkpoint(model, str(tmp_path / 'whole.pth'))
    torch.save({**state, name: state[name] * float('nan')}, tmp_path / 'diverged.pth')
    told = []
    monkeypatch.setattr('mmmtl.apis.checkpoint.print_log', lambda text, *_: told.append(text))
    load_checkpoint(model, str(tmp_path / 'diverged.pth'))
    assert f'numbers that are not finite in 1 of {len(state)}' in told[0] and name in told[0]


def test_tasks_or_classes_in_another_order_are_refused(trained, tmp_path, monkeypatch):
    content = torch.load(trained / 'iter_4.pth', weights_only=True)
    own = init_model(trained.parent / 'tiny.py')
    stored = json.loads(content['meta']['cfg'])
    tasks = stored['model']['tasks']
    names, classed = list(tasks), next(n for n, t in tasks.items() if isinstance(t.get('classes'), list))
    turned = {n: tasks[n] for n in reversed(names)}
    mixed = {**tasks, classed: {**tasks[classed], 'classes': tasks[classed]['classes'][::-1]}}
    for other, told in ((turned, f'order {names[::-1]}, not {names}'), (mixed, f'model.tasks.{classed}.classes in')):
        stored['model']['tasks'] = other
        torch.save({**content, 'meta': {'cfg': json.dumps(stored)}}, tmp_path / 'other.pth')
        with pytest.raises(CheckpointError, match=re.escape(told)):
            load_checkpoint(own, str(tmp_path / 'other.pth'))
        cfg = Config(dict(resume=True, load_from=str(tmp_path / 'other.pth')))
        with pytest.raises(CheckpointError, match=re.escape(told)):
            check_start(own, cfg)
    warned = []
    monkeypatch.setitem(check_start.__globals__, 'print_log', lambda text, *_, **__: warned.append(text))
    assert check_start(own, Config(dict(load_from=str(tmp_path / 'other.pth')))) == ({}, True) and told in warned[0]


def test_a_text_in_which_names_are_sorted_tells_no_order(trained, tmp_path):
    """Checkpoints of mmengine's own runner hold such a text, and are of this network."""
    content = torch.load(trained / 'iter_4.pth', weights_only=True)
    text = Config(json.loads(content['meta']['cfg'])).pretty_text
    assert text.index('boundary=') < text.index('semseg=')
    torch.save({**content, 'meta': {'cfg': text}}, tmp_path / 'text.pth')
    assert init_model(trained.parent / 'tiny.py', str(tmp_path / 'text.pth')).tasks


def test_init_model_predicts_in_eval_mode(trained):
    model = init_model(trained.parent / 'tiny.py', str(trained / 'iter_4.pth'))
    weights = torch.load(trained / 'iter_4.pth', weights_only=True)['state_dict']
    assert not model.training and model.dataset_meta['tasks'] is model.tasks
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())


def test_another_network_is_refused_with_counts_examples_and_remedy(trained):
    with pytest.raises(CheckpointError) as error:
        init_model(
            trained.parent / 'tiny.py',
            str(trained / 'iter_4.pth'),
            cfg_options={'model.decoder.channels': 16, 'only_tasks': ['depth']},
        )
    text = str(error.value)
    assert 'is not of this network' in text and 'unknown to the network: decoder.branches.semseg' in text
    assert 'of another shape: decoder.mix.weight (12, 24, 1, 1) instead of (16, 24, 1, 1)' in text
    assert 'model.decoder.channels was 12, here 16' in text
    assert '--cfg-options' in text and 'convert_upstream.py' in text


def test_missing_keys_are_counted_and_a_renamed_one_is_noticed(model, tmp_path):
    state = {k.replace('decoder.mix', 'decoder.mixer'): v for k, v in model.state_dict().items()}
    torch.save(state, tmp_path / 'a.pth')
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(model, str(tmp_path / 'a.pth'))
    assert '2 missing in the checkpoint: decoder.mix.weight; decoder.mix.bias' in str(error.value)
    assert '2 unknown to the network' in str(error.value)
    assert 'perhaps renamed: decoder.mixer.weight → decoder.mix.weight' in str(error.value)


def test_auxiliary_heads_are_needed_in_training_alone(model, tmp_path):
    model.decoder.aux_modules = ('mix',)
    state = {k: v for k, v in model.state_dict().items() if not k.startswith('decoder.mix.')}
    torch.save(state, tmp_path / 'a.pth')
    load_checkpoint(model, str(tmp_path / 'a.pth'))
    with pytest.raises(CheckpointError, match='2 missing'):
        load_checkpoint(model, str(tmp_path / 'a.pth'), training=True)
    assert not compare_state(model, {'state_dict': state}, training=True).exact


class Evil:
    def __reduce__(self):
        return os.mkdir, ('/tmp/mmmtl-a-checkpoint-ran-code',)


@pytest.mark.parametrize(
    'write, words',
    [
        (lambda p: torch.save({'state_dict': {}, 'x': Evil()}, p), 'convert_upstream.py'),
        (lambda p: p.write_bytes(b'no checkpoint at all'), 'broken or no checkpoint'),
        (lambda p: p.write_bytes(b''), 'broken or no checkpoint'),
        (lambda p: p.write_bytes(pickle.dumps({'a': 1})), "can't be read|has no 'state_dict'"),
        (lambda p: torch.save([1, 2], p), 'holds list'),
        (lambda p: torch.save({'model': 1}, p), "has no 'state_dict'"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path, write, words):
    path = tmp_path / 'odd.pth'
    write(path)
    with pytest.raises(CheckpointError, match=words):
        read_checkpoint(str(path))
    assert not os.path.exists('/tmp/mmmtl-a-checkpoint-ran-code')


def test_a_missing_file_names_those_that_are_there(trained, tmp_path):
    with pytest.raises(CheckpointError, match=r"iter_9\.pth' does not exist.*iter_2\.pth.*iter_4\.pth"):
        read_checkpoint(str(trained / 'iter_9.pth'))
    with pytest.raises(CheckpointError, match='does not exist'):
        read_checkpoint(str(tmp_path / 'no' / 'a.pth'))
    (tmp_path / 'a.safetensors').write_bytes(b'xx')
    with pytest.raises(CheckpointError, match="can't be read as safetensors"):
        read_checkpoint(str(tmp_path / 'a.safetensors'))
