"""Winograd's convolution and its gradients equal the direct ones."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmmtl.models.layers.basic_block import BasicBlock
from mmmtl.models.taskdiffusion.conditions import ConvConditions
from mmmtl.ops import optimize_for_inference, winograd, winograd_gradients
from mmmtl.ops.convolution import TapMajorConv2d
from mmmtl.ops.winograd import WinogradConv2d, transform_weight, winograd_conv3x3
from mmmtl.ops.winograd_blocks import FoldedBasicBlock, FoldedConditions, FoldedSequential
from mmmtl.ops.winograd_gradients import WinogradGradientConv2d, _pays, conv3x3_gradients, use_winograd_gradients

USUAL = winograd.TRANSFORMING


@pytest.fixture(autouse=True)
def few_channels_pay(monkeypatch):
    """Winograd's algorithm is taken with 64 channels already, so that small networks try it."""
    monkeypatch.setattr(winograd, 'TRANSFORMING', 16)


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(module, x):
    x = x.clone().requires_grad_()
    y = module(x)
    y.backward(draw(*y.shape, seed=1))
    return y.detach(), x.grad, [p.grad for p in module.parameters()]


@pytest.mark.parametrize('size', [(8, 12), (7, 9), (1, 3)])
def test_winograd_equals_the_direct_convolution(size):
    x, weight, bias = draw(2, 5, *size), draw(6, 5, 3, 3, seed=1), draw(6, seed=2)
    expected = F.conv2d(x.double(), weight.double(), bias.double(), padding=1)
    found = winograd_conv3x3(x, transform_weight(weight), bias)
    assert (found - expected).abs().max() < 3e-6 * expected.abs().max()


def test_winograd_layer_follows_its_weight_and_trains_directly():
    plain = nn.Conv2d(64, 64, 3, padding=1)
    layer = optimize_for_inference(copy.deepcopy(plain))
    assert isinstance(layer, WinogradConv2d)
    x = draw(2, 64, 8, 8)
    with torch.no_grad():
        for change in (lambda c: None, lambda c: c.weight.mul_(2), lambda c: c.weight.data.add_(0.1)):
            change(plain)
            change(layer)
            assert torch.allclose(layer(x), plain(x), atol=1e-4)
    layer(x).sum().backward()
    assert layer.weight.grad is not None
    assert set(layer.state_dict()) == {'weight', 'bias'}


def test_winograd_where_the_map_is_not_enlarged():
    layer = TapMajorConv2d(64, 64)
    expected = layer(draw(1, 64, 16, 12)).detach()
    optimize_for_inference(layer)
    assert isinstance(layer, WinogradConv2d) and isinstance(layer, TapMajorConv2d)
    assert layer.weight.stride()[-1] > 1, 'it still lies tap by tap'
    with torch.no_grad():
        found = layer(draw(1, 64, 16, 12))
    assert len(layer.remember((torch.float32, False), (layer.weight,), lambda: None)) == 36
    assert (found - expected).abs().max() < 3e-6 * expected.abs().max()


def test_winograd_in_bfloat16_rounds_about_as_a_convolution_does():
    layer = optimize_for_inference(nn.Conv2d(64, 64, 3, padding=1))
    plain = nn.Conv2d(64, 64, 3, padding=1)
    plain.load_state_dict(layer.state_dict())
    x = draw(3, 64, 16, 24)
    with torch.no_grad():
        exact = plain.double()(x.double())
        plain.float()
        with torch.autocast('cpu', torch.bfloat16):
            found, expected = layer(x), plain(x)
        errors = [((y.double() - exact).norm() / exact.norm()).item() for y in (found, expected)]
    assert found.dtype == expected.dtype == torch.bfloat16
    assert len(layer.remember((torch.bfloat16, False), (layer.weight,), lambda: None)) == 24, 'blocks of 2x4'
    assert 0 < errors[0] < 3.5 * errors[1]


def test_winograd_of_many_tiles_goes_by_samples():
    x, weight = draw(5, 3, 40, 36), draw(2, 3, 3, 3, seed=1)
    found = winograd_conv3x3(x, transform_weight(weight))
    assert torch.allclose(found, F.conv2d(x, weight, padding=1), atol=1e-4)


def test_winograd_leaves_other_convolutions_alone():
    module = nn.Sequential(nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 3), nn.Conv2d(8, 64, 3, padding=1))
    assert not any(isinstance(m, WinogradConv2d) for m in optimize_for_inference(module))


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


def test_module_trains_with_winograd_gradients(monkeypatch):
    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 8, 3, padding=1))
    use_winograd_gradients(model)
    assert [type(m) for m in model] == [WinogradGradientConv2d, nn.Conv2d], 'narrow convolutions are left alone'
    calls = []
    original = winograd_gradients.winograd_conv3x3
    monkeypatch.setattr(winograd_gradients, 'winograd_conv3x3', lambda *a: calls.append(1) or original(*a))
    x = torch.randn(1, 64, 64, 64)
    found = run(model, x)
    assert len(calls) == 1, 'to the input'
    plain = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.Conv2d(64, 8, 3, padding=1))
    plain.load_state_dict(model.state_dict())
    expected = run(plain, x)
    for a, b in zip((found[0], found[1], *found[2]), (expected[0], expected[1], *expected[2])):
        assert ((a - b).norm() / b.norm()).item() < 1e-4
    optimize_for_inference(model)
    assert isinstance(model[0], WinogradConv2d) and isinstance(model[0], WinogradGradientConv2d)
    with torch.no_grad():
        predicted = model(x)
    assert len(calls) == 1, 'prediction has transformed weights of its own'
    assert ((predicted - expected[0]).norm() / expected[0].norm()).item() < 1e-5


@pytest.mark.parametrize('size', [(40, 36), (17, 9)])
@pytest.mark.parametrize('most', [1, 20, 10000])
def test_what_follows_the_convolution_is_done_with_it(size, most, monkeypatch):
    """In bands of any height: bias, sum and ReLU."""
    monkeypatch.setattr(winograd, 'MOST_TILES', most)
    x, weight, bias, plus = draw(3, 4, *size), draw(5, 4, 3, 3, seed=1), draw(5, seed=2), draw(3, 5, *size, seed=3)
    expected = F.relu(F.conv2d(x, weight, bias, padding=1) + plus)
    found = winograd_conv3x3(x, transform_weight(weight), bias, plus, relu=True)
    assert torch.allclose(found, expected, atol=1e-4) and (found == 0).any()


def trained(module):
    """The module in evaluation, with statistics that are not those it begins with."""
    torch.manual_seed(0)
    for norm in (m for m in module.modules() if isinstance(m, nn.BatchNorm2d)):
        for values, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.5, 2), (norm.weight, 0.5, 2)):
            nn.init.uniform_(values, low, high)
        nn.init.uniform_(norm.bias)
    return module.eval()


def folded_and_plain(module, x, kind):
    """Result of the form, which must have been taken, and of the plain module in double precision."""
    folded = optimize_for_inference(copy.deepcopy(module))
    assert isinstance(folded, kind)
    with torch.no_grad():
        found, expected = folded(x), module.double()(x.double())
    assert folded.__dict__.get('_remembered_for_inference'), 'it went another way'
    folded.train()
    assert type(folded) is type(module)
    return found, expected


@pytest.mark.parametrize('out', [64, 80])
def test_a_residual_block_holds_its_norms_in_its_convolutions(out):
    found, expected = folded_and_plain(trained(BasicBlock(64, out)), draw(2, 64, 14, 18), FoldedBasicBlock)
    assert (found - expected).abs().max() < 5e-6 * expected.abs().max()


def row(bias=True):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(70, 96, 1, bias=bias), nn.Conv2d(96, 64, 3, padding=1), nn.ReLU(), nn.Conv2d(64, 64, 3, padding=1)
    )


@pytest.mark.parametrize('bias', [True, False])
@pytest.mark.parametrize('size', [(14, 18), (33, 2), (2, 33), (1, 40)])
def test_a_pointwise_convolution_is_merged_and_a_relu_done_on_the_way(size, bias):
    """The bias of the inner one reaches fewer taps at the border, whatever the size of the map."""
    found, expected = folded_and_plain(row(bias), draw(2, 70, *size), FoldedSequential)
    assert (found - expected).abs().max() < 5e-6 * expected.abs().max()


def test_folded_blocks_follow_their_weights_and_their_watchers():
    for module, x in ((trained(BasicBlock(64)), draw(1, 64, 12, 12)), (row(), draw(1, 70, 12, 12))):
        folded, seen = optimize_for_inference(copy.deepcopy(module)), []
        with torch.no_grad():
            folded(x)
            for m in (folded, module):
                for tensor in (*m.parameters(), *(b for b in m.buffers() if b.is_floating_point())):
                    tensor.mul_(1.1)
            assert torch.allclose(folded(x), module(x), atol=2e-4)
            next(m for m in folded.modules() if isinstance(m, nn.Conv2d)).register_forward_hook(
                lambda m, a, y, seen=seen: seen.append(y)
            )
            assert torch.allclose(folded(x), module(x), atol=2e-4)
        assert len(seen) == 1, 'a part that somebody watches is computed by itself'


def test_rows_with_nothing_to_fold_stay():
    module = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1), nn.GELU(), nn.Conv2d(64, 8, 1))
    assert type(optimize_for_inference(module)) is nn.Sequential


@pytest.mark.parametrize('cost, expected', [(72, [192, 256, 512]), (44, [96, 128, 192, 256, 512])])
def test_with_few_channels_the_direct_convolution_is_faster(monkeypatch, cost, expected):
    """Measured on two processors: where 64 and 128 channels, or 64 alone, are not worth the transforms."""
    assert USUAL in (72, 44)
    monkeypatch.setattr(winograd, 'TRANSFORMING', cost)
    chosen = [n for n in (64, 96, 128, 192, 256, 512) if WinogradConv2d.fits(nn.Conv2d(n, n, 3, padding=1))]
    assert chosen == expected and winograd.pays(128, 512)


@pytest.mark.parametrize('size', [(12, 16), (9, 7)])
def test_conditions_of_all_tasks_are_one_product_and_one_convolution_each(size):
    module = trained(ConvConditions(['a', 'b', 'c'], 2, 64))
    levels = [draw(2, 64, *size, seed=level) for level in range(2)]
    folded = optimize_for_inference(copy.deepcopy(module))
    assert isinstance(folded, FoldedConditions)
    with torch.no_grad():
        found, losses = folded(levels)
        expected, _ = module.double()([x.double() for x in levels])
    assert folded.__dict__.get('_remembered_for_inference') and losses == {}
    for row, wanted in zip(found, expected):
        assert len(row) == len(wanted) == 3
        for a, b in zip(row, wanted):
            assert (a - b).abs().max() < 5e-6 * b.abs().max()
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        half, _ = folded(levels)
    assert half[0][0].dtype == torch.bfloat16
    assert (half[0][0] - expected[0][0]).norm() < 0.03 * expected[0][0].norm()
    assert type(folded.train()) is ConvConditions
