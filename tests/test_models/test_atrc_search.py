"""ATRC's search: mixtures, decisions for good, entropy, and two optimisers in one step."""

from __future__ import annotations

import pytest
import torch
from mmengine.logging import MessageHub
from mmengine.optim import OptimWrapper

from mmmtl.diffusion.noise import GeneratorNoise
from mmmtl.engine.run_state import find_difference, find_fault
from mmmtl.engine.separate_optimizers import CombinedOptimizer, SeparateOptimizersConstructor
from mmmtl.engine.updates import gather_batches
from mmmtl.errors import ConfigError
from mmmtl.models import MultiTaskModel
from mmmtl.models.atrc import ATRCDecoder, ATRCSearchDecoder
from mmmtl.models.atrc.context import GLOBAL, NONE, SOURCE_LABEL
from mmmtl.models.atrc.search import OPEN
from tests.test_models.test_xtc import TASKS, labels

SIZE = (32, 48)


def decoder_of(**options) -> ATRCSearchDecoder:
    torch.manual_seed(0)
    return ATRCSearchDecoder(TASKS, [8, 8], [4, 8], **{'steps': 10, **options})


def feats() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(2, 8, 8 // s, 12 // s, generator=generator) for s in (1, 2)]


def test_all_parameters_learn_and_alphas_do_too():
    decoder = decoder_of().train()
    losses = decoder.loss(feats(), labels({n: [0, 1] for n in TASKS}, size=SIZE), GeneratorNoise(), SIZE)
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in decoder.parameters())
    torch.nn.init.ones_(decoder.contexts_out['depth'][1].weight)  # at the start no context is read
    decoder.zero_grad()
    sum(decoder.loss(feats(), labels({'depth': [0]}, size=SIZE), GeneratorNoise(), SIZE).values()).backward()
    assert decoder.alphas['depth'].grad.abs().sum() > 0


def test_a_decided_search_predicts_as_the_decoder_it_found():
    decoder = decoder_of().train()
    kinds = torch.tensor([[3, 4, 1], [2, 3, 0], [4, 4, 3]])
    with torch.no_grad():
        for row, name in zip(kinds, TASKS):
            decoder.alphas[name].scatter_(1, row[:, None], 3.0)
        for layer in decoder.contexts_out.values():
            layer[1].weight.fill_(1.0)
    decoder.loss(feats(), labels({'depth': [0]}, size=SIZE), GeneratorNoise(), SIZE)
    assert torch.equal(decoder.chosen, kinds)
    found = decoder.genotypes_found()
    assert found == dict(semseg='341', depth='230', normals='443')
    proper = ATRCDecoder(TASKS, [8, 8], [4, 8], genotypes=dict(found, depth='231')).eval()
    state = {}
    for key, value in decoder.state_dict().items():
        parts = key.split('.')
        if parts[0] != 'contexts':
            state[key] = value
        elif kinds[list(TASKS).index(parts[1]), list(TASKS).index(parts[2])] == int(parts[4]):
            state['.'.join([*parts[:3], *parts[5:]])] = value
    own = proper.state_dict()
    # reading nothing is reading zeros here, and a place less in the decoder proper: it gets a context that is 0
    proper.load_state_dict({**own, **{k: v for k, v in state.items() if k in own}})
    proper.contexts['depth']['normals'].value[1].weight.data.zero_()
    with torch.no_grad():
        expected, actual = proper(feats())[0], decoder.eval()(feats())[0]
    for name in TASKS:
        torch.testing.assert_close(actual[name], expected[name], atol=1e-5, rtol=1e-4)


def test_decisions_are_for_good_and_are_told(monkeypatch):
    told = []
    monkeypatch.setattr('mmmtl.models.atrc.search.print_log', lambda text, **_: told.append(text))
    decoder = decoder_of(steps=3).train()
    with torch.no_grad():
        decoder.alphas['depth'][0, GLOBAL] = 2.0
    targets = labels({'semseg': [0]}, size=SIZE)
    decoder.loss(feats(), targets, GeneratorNoise(), SIZE)
    assert decoder.chosen[1].tolist() == [GLOBAL, OPEN, OPEN] and (decoder.chosen[0] == OPEN).all() and not told
    with torch.no_grad():
        decoder.alphas['depth'][0] = torch.tensor([9.0, 0, 0, 0, 0])
    decoder.loss(feats(), targets, GeneratorNoise(), SIZE)
    assert decoder.chosen[1, 0] == GLOBAL and decoder.genotypes_found()['depth'][0] == str(GLOBAL)
    decoder.loss(feats(), targets, GeneratorNoise(), SIZE)
    assert len(told) == 1 and told[0].startswith("genotypes=dict(semseg='") and int(decoder.step) == 3


def test_entropy_changes_its_sign_and_temperature_falls():
    decoder = decoder_of(steps=2).train()
    values = [decoder.loss(feats(), {}, GeneratorNoise(), SIZE)['loss_entropy'].item() for _ in range(3)]
    entropy = (3 * torch.tensor(4.0).log() + 6 * torch.tensor(5.0).log()).item() / 9
    assert values == pytest.approx([-0.02 * entropy, 0.02 * entropy, 0.06 * entropy], rel=1e-5)
    assert decoder._value(decoder.temperature) == pytest.approx(0.05)
    sharp = torch.stack(list(decoder._weights.values())).max(-1).values.median()
    decoder.step.zero_()
    decoder._sample(GeneratorNoise())
    assert sharp > torch.stack(list(decoder._weights.values())).max(-1).values.median()
    diagonal = torch.stack([decoder._weights[n][i, SOURCE_LABEL] for i, n in enumerate(TASKS)])
    assert (diagonal == 0).all() and NONE == 0
    with pytest.raises(ConfigError, match='must be positive, got steps=0'):
        decoder_of(steps=0)


def test_an_iteration_of_several_batches_is_one_step_of_the_search():
    decoder = decoder_of(steps=2).train()
    wrapper = OptimWrapper(torch.optim.SGD(decoder.parameters(), lr=0.1))
    gather_batches(wrapper, torch.nn.ModuleDict(dict(decoder=decoder)), 2, 0, 2)
    found = []
    for _ in range(4):
        decoder.loss(feats(), labels({'depth': [0]}, size=SIZE), GeneratorNoise(), SIZE)
        found.append(int(decoder.step))
    assert found == [0, 1, 1, 2]


def optimizer_of(model, *separate):
    wrapper = dict(type='OptimWrapper', optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=0.01))
    options = dict(separate={part: dict(type='Adam', lr=5e-4) for part in separate or ['decoder.alphas']})
    return SeparateOptimizersConstructor(wrapper, options)(model)


def test_two_optimisers_in_one_step():
    decoder = dict(type='ATRCSearchDecoder', steps=10)
    model = MultiTaskModel(TASKS, dict(type='TimmBackbone', model_name='resnet18', channels=(8, 8, 8, 8)), decoder)
    wrapper = optimizer_of(model)
    assert isinstance(wrapper.optimizer, CombinedOptimizer)
    sgd, adam = wrapper.optimizer.optimizers
    assert sum(len(g['params']) for g in wrapper.param_groups) == len(list(model.parameters()))
    assert {id(p) for p in adam.param_groups[0]['params']} == {id(p) for p in model.decoder.alphas.values()}
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    losses = model.train()(torch.randn(2, 3, 64, 64), mode='loss', targets={})
    wrapper.update_params(losses['loss_entropy'] + sum(losses.values()))
    moved = (model.decoder.alphas['depth'] - before['decoder.alphas.depth']).abs()
    assert moved.max() <= 5e-4 * 1.01
    saved = wrapper.state_dict()
    file = dict(meta=dict(epoch=0, iter=1), state_dict=model.state_dict(), message_hub=MessageHub('x').state_dict())
    assert find_fault(dict(file, optimizer=saved)) is None
    assert find_difference(dict(optimizer=saved), wrapper, model) is None
    fewer = dict(saved, optimizers=saved['optimizers'][:1])
    assert find_difference(dict(optimizer=fewer), wrapper, model) == 'optimizer: 1 optimisers, 2 here'
    again = optimizer_of(model)
    again.load_state_dict(saved)
    for group in again.optimizer.param_groups:
        group['lr'] = 0.123
    assert all(g['lr'] == 0.123 for o in again.optimizer.optimizers for g in o.param_groups)
    assert len(again.optimizer.optimizers[1].state) == len(adam.state) > 0
    with pytest.raises(ConfigError, match="no parameter's name holds 'alpha_'"):
        optimizer_of(model, 'alpha_')
    parts = optimizer_of(model, 'decoder.alphas', 'decoder').optimizer.param_groups
    assert len({id(p) for g in parts for p in g['params']}) == sum(len(g['params']) for g in parts)
    with pytest.raises(ConfigError, match="holds 'decoder.alphas', that no earlier part holds"):
        optimizer_of(model, 'decoder', 'decoder.alphas')
