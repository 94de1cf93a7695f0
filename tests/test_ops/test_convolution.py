"""Convolutions by cheaper routes equal the plain ones, in values and gradients."""

from __future__ import annotations

import io

import pytest
import torch
import torch.nn.functional as F

from mmmtl.ops.convolution import (
    Conv1x1,
    TapMajorConv2d,
    as_channels_last,
    conv1x1,
    conv1x1_affine,
    conv1x1_conv3x3,
    conv1x1_of_concat,
    conv3x3,
    conv3x3_after_upsample,
    interpolate_taps,
    merge_pointwise,
    tap_products,
)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def plain(x, weight, bias, scale):
    enlarged = F.interpolate(x, scale_factor=scale, mode='bilinear', align_corners=False)
    return F.conv2d(enlarged, weight, bias, padding=1)


@pytest.mark.parametrize('scale', [1, 2, 3, 4])
@pytest.mark.parametrize('grid', [(4, 6), (1, 3), (2, 2)])
def test_convolution_after_upsampling(scale, grid):
    x, weight, bias = draw(2, 5, *grid), draw(7, 5, 3, 3, seed=1), draw(7, seed=2)
    found = conv3x3_after_upsample(as_channels_last(x), weight, bias, scale)
    assert torch.allclose(found, plain(x, weight, bias, scale), atol=1e-12)
    assert found.is_contiguous(memory_format=torch.channels_last)


def test_convolution_after_upsampling_has_the_same_gradients():
    inputs = [draw(2, 5, 3, 4), draw(6, 5, 3, 3, seed=1), draw(6, seed=2)]
    seen = draw(2, 6, 12, 16, seed=3)
    gradients = []
    for function in (conv3x3_after_upsample, plain):
        leaves = [t.clone().requires_grad_() for t in inputs]
        gradients.append(torch.autograd.grad((function(*leaves, 4) * seen).sum(), leaves))
    for found, expected in zip(*gradients):
        assert torch.allclose(found, expected, atol=1e-10)


def test_chosen_rows_are_those_of_the_whole_map():
    x, weight = draw(2, 3, 4, 5), draw(6, 3, 3, 3, seed=1)
    products = tap_products(x, weight)
    whole = interpolate_taps(products, (4, 5), 4)
    assert torch.allclose(interpolate_taps(products, (4, 5), 4, (3, 9)), whole[:, :, 3:9], atol=1e-12)


def test_remembered_matrices_survive_inference_mode():
    weight = draw(4, 3, 3, 3).requires_grad_()
    with torch.inference_mode():
        conv3x3_after_upsample(draw(1, 3, 7, 5), weight.detach())
    conv3x3_after_upsample(draw(1, 3, 7, 5).requires_grad_(), weight).sum().backward()
    assert weight.grad is not None


def test_pointwise_merges_into_the_following_3x3():
    x, inner, outer = draw(2, 5, 6, 6), draw(4, 5, 1, 1, seed=1), draw(3, 4, 3, 3, seed=2)
    found = F.conv2d(x, merge_pointwise(outer, inner), padding=1)
    assert torch.allclose(found, F.conv2d(F.conv2d(x, inner), outer, padding=1), atol=1e-12)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
def test_pointwise_convolution_of_any_layout(layout):
    x, weight, bias = (draw(2, 5, 6, 7).contiguous(memory_format=layout), draw(3, 5, 1, 1, seed=1), draw(3, seed=2))
    assert torch.allclose(conv1x1(x, weight, bias), F.conv2d(x, weight, bias), atol=1e-12)


def test_tap_major_weight_keeps_its_layout_through_loading_and_steps():
    conv = TapMajorConv2d(5, 7)
    assert conv.weight.shape == (7, 5, 3, 3)
    assert conv.weight.permute(2, 3, 0, 1).is_contiguous()
    other = torch.nn.Conv2d(5, 7, 3, padding=1)
    conv.load_state_dict(other.state_dict())
    x = torch.randn(2, 5, 4, 4)
    assert torch.allclose(conv(x), other(x), atol=1e-6)
    optimizer = torch.optim.Adam(conv.parameters())
    conv3x3_after_upsample(as_channels_last(x), conv.weight, conv.bias).sum().backward()
    optimizer.step()
    assert conv.weight.permute(2, 3, 0, 1).is_contiguous()
    buffer = io.BytesIO()
    torch.save(conv.state_dict(), buffer)
    buffer.seek(0)
    other.load_state_dict(torch.load(buffer, weights_only=True))
    assert torch.equal(other.weight, conv.weight)


def test_a_1x1_convolution_of_concatenated_maps():
    maps, conv = [draw(2, 5, 3, 4, seed=s) for s in range(3)], Conv1x1(15, 7).double()
    expected = F.conv2d(torch.cat(maps, 1), conv.weight, conv.bias)
    assert torch.allclose(conv1x1_of_concat(maps, conv.weight, conv.bias), expected, atol=1e-12)
    with torch.no_grad():
        assert torch.allclose(conv1x1_of_concat(maps, conv.weight, conv.bias), expected, atol=1e-12)
    assert all(torch.equal(m, draw(2, 5, 3, 4, seed=s)) for s, m in enumerate(maps))


@pytest.mark.parametrize('rows', [1, 2])
def test_a_1x1_convolution_with_an_affine(rows):
    x, conv = draw(2, 5, 3, 4), Conv1x1(5, 7).double()
    gain, offset = draw(rows, 7, seed=1), draw(rows, 7, seed=2)
    expected = conv(x) * gain[:, :, None, None] + offset[:, :, None, None]
    assert torch.allclose(conv1x1_affine(x, conv.weight, conv.bias, gain, offset), expected, atol=1e-12)


@pytest.mark.parametrize('grid', [(2, 3), (9, 8)])  # as two convolutions, and as one
def test_a_1x1_convolution_before_a_3x3_one(grid):
    x, inner, outer = draw(2, 5, *grid), Conv1x1(5, 6).double(), conv3x3(6, 4).double()
    seen = draw(2, 4, *grid, seed=1)
    results = []
    for function in (lambda: conv1x1_conv3x3(x, inner, outer), lambda: outer(F.conv2d(x, inner.weight, inner.bias))):
        y = function()
        results.append([y, *torch.autograd.grad((y * seen).sum(), [*inner.parameters(), *outer.parameters()])])
    for found, expected in zip(*results):
        assert torch.allclose(found, expected, atol=1e-10)


def test_3x3_convolutions_are_plain_ones_in_another_memory_order():
    torch.manual_seed(0)
    conv = conv3x3(5, 7)
    torch.manual_seed(0)
    plain_conv = torch.nn.Conv2d(5, 7, 3, padding=1)
    assert type(conv) is torch.nn.Conv2d
    assert torch.equal(conv.weight, plain_conv.weight)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)
