"""optimize_for_inference: faster forms of modules that ``model.train()`` takes back without a trace."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch import nn

from mmmtl.errors import ConfigError
from mmmtl.ops import dispatch, optimize_for_inference
from mmmtl.ops.inference import FORMS, InferenceForm, _name, inference_form_of, restore


class Doubling(nn.Module):
    """A module with a weight."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.made = []

    def forward(self, x):
        return x * self.weight * 2


@pytest.fixture(autouse=True)
def form():
    @inference_form_of(Doubling)
    class FastDoubling(InferenceForm):
        def forward(self, x):
            def make():
                self.made.append(1)
                return self.weight.detach() * 2

            return x * self.remember('doubled', (self.weight,), make)

    yield FastDoubling
    del FORMS[_name(Doubling)]


def test_form_is_given_and_taken_back(form):
    model = nn.Sequential(Doubling(), nn.Sequential(Doubling(), nn.ReLU()))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    assert optimize_for_inference(model) is model and not model.training
    assert isinstance(model[0], form) and isinstance(model[0], Doubling) and type(model[1][1]) is nn.ReLU
    assert torch.equal(model(torch.ones(3)), torch.full((3,), 4.0))
    optimize_for_inference(model)
    assert isinstance(model[0], form), 'a second call changes nothing'
    model.train()
    assert type(model[0]) is Doubling and type(model[1][0]) is Doubling and model[1].training
    assert not any('remembered' in name for name in model[0].__dict__)
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_part_that_trains_is_plain_while_the_rest_predicts(form):
    model = optimize_for_inference(nn.Sequential(Doubling(), Doubling()))
    model[1].train()
    assert isinstance(model[0], form) and type(model[1]) is Doubling


@pytest.mark.parametrize(
    'change',
    [
        lambda m: m.weight.data.mul_(3),
        lambda m: m.load_state_dict({'weight': torch.full((3,), 5.0)}),
        lambda m: setattr(m, 'weight', nn.Parameter(torch.full((3,), 7.0))),
    ],
)
def test_derived_values_follow_the_weights(change):
    module = optimize_for_inference(Doubling())
    with torch.no_grad():
        module(torch.ones(3))
        module(torch.ones(3))
        assert len(module.made) == 1
        change(module)
        assert torch.equal(module(torch.ones(3)), module.weight * 2)


def test_copies_are_plain():
    module = optimize_for_inference(nn.Sequential(Doubling()))
    module(torch.ones(3))
    for other in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        assert type(other[0]) is Doubling and torch.equal(other[0].weight, module[0].weight)
        assert not any('remembered' in name for name in other[0].__dict__)


def test_forms_can_be_kept_away_and_taken_back(form):
    model = nn.Sequential(Doubling(), nn.Sequential(Doubling()))
    model[1].plain_for_inference = (form.__name__,)
    optimize_for_inference(model)
    assert isinstance(model[0], form) and type(model[1][0]) is Doubling
    restore(model)
    assert type(model[0]) is Doubling and not model.training


def test_variable_switches_all_kernels_off(monkeypatch):
    x = torch.ones(2, 2)
    assert dispatch.served('matmul', x) and not dispatch.served('matmul', x.double())
    with dispatch.plain_operations():
        assert not dispatch.served('matmul', x)
    monkeypatch.setenv('MMMTL_OPS', 'plain')
    assert not dispatch.served('matmul', x) and not dispatch.predicting()
    monkeypatch.setenv('MMMTL_OPS', 'plian')
    with pytest.raises(ConfigError, match="MMMTL_OPS must be one of .*'plian'.*plain"):
        dispatch.served('matmul', x)
