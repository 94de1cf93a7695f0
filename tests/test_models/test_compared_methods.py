"""The compared methods: recorded runs replayed, published key lists converted, parameters counted."""

from __future__ import annotations

import re
from functools import cache

import pytest
import torch

from mmmtl.apis.convert import convert_state, converter_of, empty_network
from mmmtl.errors import CheckpointError
from mmmtl.utils.renaming import task_order
from tests.parity.replay import replay_file

RECORDINGS = ('invpt', 'taskprompter', 'mlore', 'mtinet', 'tsp_transformer', 'atrc', 'demt', 'mqtransformer', 'jtr')
RELEASED = {
    'invpt_pascal_vitl': ('invpt', 'vitl_pascal', 422_929_810),
    'invpt_nyud_vitl': ('invpt', 'vitl_nyud', 402_092_888),
    'taskprompter_pascal_vitl': ('taskprompter', 'vitl_pascal', 401_104_864),
    'taskprompter_pascal_vitb': ('taskprompter', 'vitb_pascal', 418_332_214),
    'taskprompter_nyud_vitl': ('taskprompter', 'vitl_nyud', 513_505_709),
    'mlore_pascal_vitl': ('mlore', 'vitl_pascal', 407_690_406),
    'mlore_pascal_vitb': ('mlore', 'vitb_pascal', 285_794_210),
    'mlore_pascal_vits': ('mlore', 'vits_pascal', 42_176_918),
    'mlore_nyud_vitl': ('mlore', 'vitl_nyud', 551_625_533),
    'mtinet_pascal_hrnet18': ('mtinet', 'hrnet18_pascal', 24_494_171),
    'mtinet_nyud_hrnet18_edges_normals': ('mtinet', 'hrnet18_nyud', 14_838_121),
    'atrc_nyud_hrnet18': ('atrc', 'hrnet18_nyud', 5_060_994),
    'atrc_nyud_hrnet48': ('atrc', 'hrnet48_nyud', 72_478_947),
    'atrc_pascal_hrnet18': ('atrc', 'hrnet18_pascal', 5_383_142),
    'tsp_pascal': ('tsp', 'vitl_pascal', None),
    'tsp_nyud': ('tsp', 'vitl_nyud', None),
    'jtr_nyuv2_host': ('jtr', 'segnet_nyud', 25_055_185),
    'jtr_nyuv2_network': ('jtr', 'segnet_nyud', 24_989_427),
    'jtr_cityscapes_host': ('jtr', 'segnet_cityscapes', 25_054_795),
    'jtr_cityscapes_network': ('jtr', 'segnet_cityscapes', 24_983_640),
}
"""Key lists of published checkpoints: method, config, and how many parameters the published program has."""
STATISTIC = re.compile(r'\.(running_mean|running_var|num_batches_tracked)$')


@pytest.mark.parametrize('name', RECORDINGS)
def test_recorded_run(name, shared_dir):
    _, results = replay_file(shared_dir / 'golden' / f'{name}.pt')
    assert len(results) > 20
    assert [r for r in results if not r[1] <= r[2]] == []


def read_keys(path) -> dict[str, torch.Tensor]:
    """A key list as tensors without memory."""
    lines = [line.split(' ', 1) for line in path.read_text().splitlines() if line.strip()]
    return {k: torch.empty(tuple(map(int, re.findall(r'\d+', shape))), device='meta') for k, shape in lines}


@pytest.fixture(scope='module')
def networks():
    """Empty networks by config, each built once: conversion and comparison look at the same one."""
    built = cache(lambda config, options: empty_network(config, dict(options)))
    return lambda config, options=None: built(config, tuple((options or {}).items()))


@pytest.mark.parametrize('name', RELEASED)
def test_key_list_converts_strictly(name, shared_dir, root_dir, networks, monkeypatch):
    monkeypatch.setattr('mmmtl.apis.convert.empty_network', networks)
    method, config, parameters = RELEASED[name]
    state = read_keys(shared_dir / 'golden' / 'keys' / f'{name}.txt')
    done = convert_state(method, state, str(root_dir / 'configs' / method / f'{config}.py'))
    network = networks(str(root_dir / 'configs' / method / f'{config}.py'))
    part = converter_of(method).published_part(done.state)
    assert set(done.state) == {k for k in network.state_dict() if k.startswith(part)}
    if parameters is not None:
        published = sum(v.numel() for k, v in state.items() if not STATISTIC.search(k))
        assert published == parameters


def test_tasks_in_another_order_than_the_file_s_are_refused(shared_dir, root_dir, networks, monkeypatch):
    state = read_keys(shared_dir / 'golden' / 'keys' / 'mtinet_nyud_hrnet18_edges_normals.txt')
    path = str(root_dir / 'configs/mtinet/hrnet18_nyud.py')
    network = networks(path)
    monkeypatch.setattr('mmmtl.apis.convert.empty_network', lambda *args: network)
    monkeypatch.setattr(network, 'tasks', dict(sorted(network.tasks.items())))
    with pytest.raises(
        CheckpointError, match=r"order \['semseg', 'normals', 'boundary', 'depth'\], the config's in \['bound"
    ):
        convert_state('mtinet', state, path)


def test_queries_find_their_task_whatever_the_order():
    block = 'head.parts_query_encoder_decoder_blocks.0.rpn_tokens'
    state = {f'{block}.{i}': torch.full((1, 2, 3), float(i)) for i in range(2)}
    state |= {f'head.final_logits.{name}.{part}': torch.zeros(1) for name in 'ba' for part in ('weight', 'bias')}
    renamed, _, _ = converter_of('mqtransformer').convert(state, {'a': 'a', 'b': 'b'})
    assert renamed['decoder.query'][:, 0, 0].tolist() == [1, 0]


def test_prompts_find_their_task_whatever_the_order():
    state = {f'backbone.{name}Prompt_Tokens': torch.zeros(1) for name in ('S', 'P', 'Sa', 'N', 'E')}
    names = {'sal': 'saliency', 'semseg': 'semseg', 'human_parts': 'human_parts'}
    for order in (names, dict(reversed(names.items()))):
        for name, tensor in (('semseg', 'S'), ('saliency', 'Sa')):
            one = {k: v + 1 if k == f'backbone.{tensor}Prompt_Tokens' else v for k, v in state.items()}
            assert converter_of('tsp').convert(one, order)[0][f'backbone.prompts.{name}'].tolist() == [1]


def test_sorted_keys_say_nothing_of_an_order():
    keys = [f'decoder.{name}.{part}' for name in ('semseg', 'depth') for part in ('weight', 'bias')]
    names = {'semseg': 'semseg', 'depth': 'depth'}
    assert task_order(dict.fromkeys(sorted(keys), torch.zeros(1)), names) == ['semseg', 'depth']
    assert task_order(dict.fromkeys(keys, torch.zeros(1)), {'depth': 'depth', 'semseg': 'semseg'}) == [
        'semseg',
        'depth',
    ]
