"""AutocastOptimWrapper: bfloat16 inside the forward pass, float32 everywhere else."""

from __future__ import annotations

import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmmtl.engine import AutocastOptimWrapper
from mmmtl.ops.precision import bfloat16_is_faster
from mmmtl.registry import OPTIM_WRAPPERS


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.dtypes = []

    def forward(self, x):
        out = self.layer(x)
        self.dtypes.append(out.dtype)
        return (out.float() - 1).square().mean()


def make(kind, model, dtype='bfloat16', **kwargs):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    return kind(optimizer=optimizer, **({'dtype': dtype} if kind is AutocastOptimWrapper else {}), **kwargs)


def train(wrapper, model, steps=4):
    data = torch.randn(steps, 4, 8, generator=torch.Generator().manual_seed(0))
    for x in data:
        with wrapper.optim_context(model):
            loss = model(x)
        wrapper.update_params(loss)
    return loss


@pytest.mark.parametrize('kwargs', [{}, dict(accumulative_counts=2), dict(clip_grad=dict(max_norm=0.1))])
def test_close_to_float32(kwargs):
    torch.manual_seed(0)
    start = Net()
    half, full = copy.deepcopy(start), copy.deepcopy(start)
    train(make(AutocastOptimWrapper, half, **copy.deepcopy(kwargs)), half)
    train(make(OptimWrapper, full, **copy.deepcopy(kwargs)), full)
    assert set(half.dtypes) == {torch.bfloat16} and set(full.dtypes) == {torch.float32}
    assert all(p.dtype == p.grad.dtype == torch.float32 for p in half.parameters() if p.grad is not None)
    moved = (full.layer.weight - start.layer.weight).norm()
    gap = (half.layer.weight - full.layer.weight).norm()
    assert 0 < gap < 0.02 * moved


def test_float32_is_exactly_the_ordinary_wrapper():
    torch.manual_seed(0)
    one, other = Net(), Net()
    other.load_state_dict(one.state_dict())
    train(make(AutocastOptimWrapper, one, 'float32'), one)
    train(make(OptimWrapper, other), other)
    assert torch.equal(one.layer.weight, other.layer.weight) and set(one.dtypes) == {torch.float32}


def test_accumulation_steps_every_second_batch():
    torch.manual_seed(0)
    model = Net()
    wrapper = make(AutocastOptimWrapper, model, accumulative_counts=2)
    before = model.layer.weight.clone()
    train(wrapper, model, steps=1)
    assert torch.equal(model.layer.weight, before)
    train(wrapper, model, steps=1)
    assert not torch.equal(model.layer.weight, before)


def test_built_from_a_config():
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    built = OPTIM_WRAPPERS.build(dict(type='AutocastOptimWrapper', optimizer=optimizer, dtype=torch.bfloat16))
    assert isinstance(built, AutocastOptimWrapper) and built.dtype is torch.bfloat16


@pytest.mark.parametrize('dtype', ['float16', torch.float16, 'bf16', 'nonsense'])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(ValueError, match="must be 'bfloat16', 'float32' or 'auto'.*AmpOptimWrapper"):
        make(AutocastOptimWrapper, Net(), dtype)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='no GPU')
def test_on_a_gpu():
    model = Net().cuda()
    wrapper = make(AutocastOptimWrapper, model)
    with wrapper.optim_context(model):
        loss = model(torch.randn(4, 8, device='cuda'))
    wrapper.update_params(loss)
    assert model.dtypes == [torch.bfloat16]


@pytest.mark.parametrize('faster', [True, False])
def test_auto_takes_bfloat16_where_it_is_multiplied_faster(monkeypatch, faster):
    monkeypatch.setattr('mmmtl.engine.optim_wrappers.bfloat16_is_faster', lambda device: faster)
    wrapper, model = make(AutocastOptimWrapper, Net(), 'auto'), Net()
    train(wrapper, model, 1)
    assert model.dtypes == [torch.bfloat16 if faster else torch.float32]


def test_instructions_for_bfloat16_are_asked_of_the_device(monkeypatch):
    for name in ('_is_amx_tile_supported', '_is_avx512_bf16_supported'):
        monkeypatch.setattr(torch.cpu, name, lambda: False, raising=False)
    assert not bfloat16_is_faster('cpu') and not bfloat16_is_faster('meta')
    monkeypatch.setattr(torch.cpu, '_is_amx_tile_supported', lambda: True, raising=False)
    assert bfloat16_is_faster('cpu')
