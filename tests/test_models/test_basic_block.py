"""Residual branches that keep fewer maps, and Winograd's convolutions with their gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmmtl.models.layers.basic_block import BasicBlock, ResidualBranch
from mmmtl.ops.recompute import recomputed
from mmmtl.ops.winograd import use_winograd
from mmmtl.ops.winograd_train import TrainedWinogradConv2d, _pays, conv3x3_gradients


def branch_of(channels=6, count=2) -> ResidualBranch:
    torch.manual_seed(0)
    branch = ResidualBranch(channels, count).double()
    for norm in branch.modules():
        if isinstance(norm, nn.BatchNorm2d):
            nn.init.normal_(norm.weight, 1, 0.3)
            nn.init.normal_(norm.bias, 0, 0.3)
    return branch


def run(module, x, seed=1):
    x = x.clone().requires_grad_()
    y = module(x)
    y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(seed), dtype=y.dtype))
    return y.detach(), x.grad, {n: p.grad for n, p in module.named_parameters()}, dict(module.named_buffers())


@pytest.mark.parametrize('count', [1, 2, 3])
def test_lean_branch_equals_its_blocks(count):
    lean = branch_of(count=count).train()
    plain = nn.Sequential(*copy.deepcopy(lean)).train()
    x = torch.randn(3, 6, 7, 5, dtype=torch.float64)
    for found, expected in zip(run(lean, x), run(plain, x)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert int(lean[0].bn1.num_batches_tracked) == 1


def test_lean_branch_passes_the_gradient_check():
    branch = branch_of(channels=2, count=1).train()
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(branch, (x,), atol=1e-5)


def test_frozen_parts_get_no_gradient():
    branch = branch_of().train()
    branch[0].conv1.weight.requires_grad_(False)
    x = torch.randn(2, 6, 4, 4, dtype=torch.float64)
    branch(x).sum().backward()
    assert branch[0].conv1.weight.grad is None and branch[0].conv2.weight.grad is not None


def kept_maps(module, x) -> int:
    """Number of different maps that the graph of one training pass keeps."""
    seen = {}

    def pack(t):
        if t.numel() >= x.numel():
            seen[t.untyped_storage().data_ptr()] = t
        return t

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        module(x)
    return len(seen)


def test_lean_branch_keeps_half_of_the_maps():
    lean = branch_of(count=2).train()
    plain = nn.Sequential(*copy.deepcopy(lean)).train()
    x = torch.randn(3, 6, 8, 8, dtype=torch.float64)
    assert kept_maps(lean, x) == 1 + 4, 'the input, and one map per convolution'
    assert kept_maps(plain, x) == 1 + 8


def test_other_modes_take_the_ordinary_way():
    branch = branch_of().float()
    x = torch.randn(2, 6, 4, 4)
    assert not branch.eval()._lean(x)
    branch.train()
    assert branch._lean(x)
    with torch.no_grad():
        assert not branch._lean(x)
    with torch.autocast('cpu', torch.bfloat16):
        assert not branch._lean(x)
        assert branch(x).shape == x.shape
    branch[0].bn1 = nn.InstanceNorm2d(6)
    assert not branch._lean(x)
    assert ResidualBranch(6, 0)(x) is x
    assert isinstance(branch[1], BasicBlock)


# ---- Winograd --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('shape', [(2, 64, 80, 40, 40), (1, 72, 64, 53, 62)])
def test_gradients_by_winograd_are_those_of_the_convolution(shape):
    batch, into, out, height, width = shape
    x, weight = torch.randn(batch, into, height, width), torch.randn(out, into, 3, 3) / 20
    dy = torch.randn(batch, out, height, width)
    assert _pays(x, weight)
    wide = [t.double() for t in (x, weight, dy)]
    dx, dweight, _ = torch.ops.aten.convolution_backward(
        wide[2], wide[0], wide[1], None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
    )
    for found, wanted in zip(conv3x3_gradients(dy, x, weight, (True, True)), (dx, dweight)):
        assert ((found - wanted).norm() / wanted.norm()).item() < 2e-5
    assert conv3x3_gradients(dy, x, weight, (False, False)) == (None, None)


def test_small_convolutions_stay_as_they_are():
    x, weight = torch.randn(1, 64, 8, 8), torch.randn(64, 64, 3, 3)
    assert not _pays(x, weight)
    dy = torch.randn_like(x)
    wanted = torch.ops.aten.convolution_backward(
        dy, x, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, [True, True, False]
    )[:2]
    for found, expected in zip(conv3x3_gradients(dy, x, weight, (True, True)), wanted):
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_module_trains_and_predicts_by_winograd(monkeypatch):
    from mmmtl.ops import winograd_train

    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 8, 3, padding=1))
    use_winograd(model, TrainedWinogradConv2d)
    assert [type(m) for m in model] == [TrainedWinogradConv2d, nn.Conv2d], 'narrow convolutions are left alone'
    calls = []
    original = winograd_train.winograd_conv3x3
    monkeypatch.setattr(winograd_train, 'winograd_conv3x3', lambda *a: calls.append(1) or original(*a))
    x = torch.randn(1, 64, 64, 64)
    found = run(model, x)
    assert len(calls) == 1, 'to the input'
    plain = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 8, 3, padding=1))
    plain.load_state_dict(model.state_dict())
    expected = run(plain, x)
    for a, b in zip((found[0], found[1], *found[2].values()), (expected[0], expected[1], *expected[2].values())):
        assert ((a - b).norm() / b.norm()).item() < 1e-4
    with torch.no_grad():
        predicted = model(x)
    assert len(calls) == 1, 'prediction has transformed weights of its own'
    assert ((predicted - expected[0]).norm() / expected[0].norm()).item() < 1e-5


# ---- recomputing -----------------------------------------------------------------------------------------------------
@pytest.mark.parametrize('norm', [nn.BatchNorm2d, lambda c: nn.BatchNorm2d(c, momentum=None)])
def test_recomputed_part_is_the_part(norm):
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv2d(3, 4, 3), norm(4), nn.Dropout(0.5), nn.Conv2d(4, 2, 3)).double().train()
    twin = copy.deepcopy(part)
    x = torch.randn(2, 3, 9, 9, dtype=torch.float64)
    results = []
    for module, call in ((part, lambda y: recomputed(part, y)), (twin, twin)):
        for seed in range(2):  # running averages start to differ from the batch at the second
            torch.manual_seed(seed)
            y = x.clone().requires_grad_()
            out = call(y)
            out.square().sum().backward()
        results.append(
            (out.detach(), y.grad, {n: p.grad for n, p in module.named_parameters()}, dict(module.named_buffers()))
        )
    for found, expected in zip(*results):
        torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    assert int(part[1].num_batches_tracked) == 2
    with torch.no_grad():
        assert not recomputed(part, x).requires_grad


def test_recomputed_part_keeps_only_its_input():
    part = branch_of(count=2).eval()
    x = torch.randn(3, 6, 8, 8, dtype=torch.float64, requires_grad=True)
    assert kept_maps(lambda y: recomputed(part, y), x) <= 1 < kept_maps(part, x)
