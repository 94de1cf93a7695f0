"""Residual branches that keep fewer maps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmmtl.models.layers.basic_block import BasicBlock, ResidualBranch
from mmmtl.ops.recompute import recomputed
from mmmtl.ops.residual_branch import keeps_fewer_maps


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
def test_branch_equals_its_blocks(count):
    branch = branch_of(count=count).train()
    plain = nn.Sequential(*copy.deepcopy(branch)).train()
    x = torch.randn(3, 6, 7, 5, dtype=torch.float64)
    for found, expected in zip(run(branch, x), run(plain, x)):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)
    assert int(branch[0].bn1.num_batches_tracked) == 1


def test_branch_passes_the_gradient_check():
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


def test_branch_keeps_half_of_the_maps():
    branch = branch_of(count=2).train()
    plain = nn.Sequential(*copy.deepcopy(branch)).train()
    x = torch.randn(3, 6, 8, 8, dtype=torch.float64)
    assert kept_maps(branch, x) == 1 + 4, 'the input, and one map per convolution'
    assert kept_maps(plain, x) == 1 + 8


def test_other_modes_take_the_ordinary_way():
    branch = branch_of().float()
    x = torch.randn(2, 6, 4, 4)
    assert not keeps_fewer_maps(branch.eval(), x)
    branch.train()
    assert keeps_fewer_maps(branch, x)
    with torch.no_grad():
        assert not keeps_fewer_maps(branch, x)
    with torch.autocast('cpu', torch.bfloat16):
        assert not keeps_fewer_maps(branch, x)
        assert branch(x).shape == x.shape
        assert not keeps_fewer_maps(branch, x.bfloat16()), 'a map in the precision of the product, weights in their own'
    branch[0].bn1 = nn.InstanceNorm2d(6)
    assert not keeps_fewer_maps(branch, x)
    assert ResidualBranch(6, 0)(x) is x
    assert isinstance(branch[1], BasicBlock)


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
