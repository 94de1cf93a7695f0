"""Matrix products by oneDNN equal PyTorch's own."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmmtl.ops import attention, gemm
from mmmtl.ops.attention import CrossAttention, attend, plain_is_faster


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=[True, False], ids=['oneDNN', 'PyTorch'])
def route(request, monkeypatch):
    if request.param and not gemm._supported():
        pytest.skip('this PyTorch has no oneDNN matrix product')
    monkeypatch.setattr(gemm, 'SMALLEST', 0)
    monkeypatch.setattr(gemm, '_SUPPORTED', request.param)
    return request.param


@pytest.mark.parametrize('bias', [True, False])
def test_linear_and_its_gradients(route, bias):
    layer = nn.Linear(12, 7, bias)
    fast = gemm.use_fast_linear(copy.deepcopy(layer))
    assert isinstance(fast, gemm.FastLinear)
    assert gemm._chosen(draw(1, 12), fast.weight) == route
    gradients = []
    for module in (layer, fast):
        x = draw(2, 5, 12).requires_grad_()
        y = module(x)
        (y * draw(2, 5, 7, seed=1)).sum().backward()
        gradients.append([y.detach(), x.grad, *[p.grad for p in module.parameters()]])
    for expected, found in zip(*gradients):
        assert torch.allclose(expected, found, atol=1e-5)


def test_product_of_strided_matrices(route):
    a, b = draw(6, 4).t(), draw(9, 6).t()
    assert torch.allclose(gemm.matmul(a, b), a @ b, atol=1e-5)


def test_one_matrix_times_many(route):
    a, many = draw(5, 4), draw(20, 4, 6).requires_grad_()
    found = gemm.batched_matmul(a, many)
    assert torch.allclose(found, a @ many, atol=1e-5)
    gradient = torch.autograd.grad(found.sum(), many)[0]
    assert torch.allclose(gradient, (a.t() @ torch.ones(5, 6)).expand(20, -1, -1), atol=1e-5)


def test_other_precisions_are_left_to_pytorch(route):
    x, weight = draw(3, 4), draw(5, 4)
    assert gemm.linear(x.double(), weight.double()).dtype == torch.float64
    with torch.autocast('cpu', torch.bfloat16):
        assert gemm.linear(x, weight).dtype == torch.bfloat16


def test_replacing_linears_keeps_parameters_and_names():
    module = nn.Sequential(nn.Linear(3, 4), nn.Sequential(nn.GELU(), nn.Linear(4, 2)))
    before = dict(module.named_parameters())
    after = dict(gemm.use_fast_linear(module).named_parameters())
    assert before.keys() == after.keys()
    assert all(before[k] is after[k] for k in before)


@pytest.mark.parametrize('largest', [2**21, 200, 1])
def test_plain_attention_is_the_fused_one(monkeypatch, largest):
    monkeypatch.setattr(attention, 'LARGEST', largest)
    query, key, value = (draw(2, 3, 7, 8, seed=s) for s in range(3))
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        assert plain_is_faster(query, 7) and not plain_is_faster(query, 4096)
        found = attend(query, key, value)
    assert not plain_is_faster(query, 7)
    expected = F.scaled_dot_product_attention(query, key, value)
    assert torch.equal(attend(query, key, value), expected)
    assert ((found - expected).norm() / expected.norm()) < 0.02


def test_cross_attention_equals_softmax_attention():
    torch.manual_seed(0)
    layer, x, context = CrossAttention(8, 6, heads=2), draw(2, 5, 8), draw(2, 7, 6, seed=1)
    query = layer.query(x).reshape(2, 5, 2, 4).transpose(1, 2)
    key, value = (m.reshape(2, 7, 2, 4).transpose(1, 2) for m in layer.key_value(context).chunk(2, -1))
    weights = (query @ key.transpose(-2, -1) / 2).softmax(-1)
    assert torch.allclose(layer(x, context), layer.out((weights @ value).transpose(1, 2).reshape(2, 5, 8)), atol=1e-6)
    with pytest.raises(ValueError, match='not a multiple'):
        CrossAttention(9, heads=2)


def test_matrices_with_gaps_are_closed_first():
    x = draw(8, 30)[:, 10:20]
    assert not x.is_contiguous()
    assert gemm._dense(x).is_contiguous()
    for whole in (draw(8, 10), draw(10, 8).t()):
        assert gemm._dense(whole) is whole


def test_stacked_products(route):
    x, weights = draw(3, 5, 4), draw(3, 4, 6, seed=1).transpose(1, 2)
    expected = torch.stack([F.linear(a, w) for a, w in zip(x, weights)])
    assert torch.allclose(gemm.stacked_linear(x, weights), expected, atol=1e-6)
    assert gemm.stacked_linear(x.bfloat16(), weights.bfloat16()).dtype == torch.bfloat16
