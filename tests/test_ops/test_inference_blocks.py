"""The forms for prediction of diffusers' blocks give the numbers of diffusers' own."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmmtl.ops import optimize_for_inference
from mmmtl.ops.convolution import conv3x3_after_doubling
from mmmtl.ops.inference import InferenceForm

diffusers = pytest.importorskip('diffusers')


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize('layout', [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize('shape', [(2, 3, 6, 8), (1, 3, 2, 3), (70, 3, 1, 1)])
def test_convolution_after_doubling(shape, layout):
    x = torch.randn(shape, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    weight, bias = (torch.randn(s, dtype=torch.float64, requires_grad=True) for s in ((4, 3, 3, 3), (4,)))
    found = conv3x3_after_doubling(x, weight, bias)
    expected = F.conv2d(F.interpolate(x, scale_factor=2, mode='nearest'), weight, bias, padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    towards = torch.randn_like(expected)
    gradients = [torch.autograd.grad(y, (x, weight, bias), towards) for y in (found, expected)]
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_channels_last_map_is_normalised_as_exactly_as_another():
    norm = nn.GroupNorm(8, 16)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    optimize_for_inference(norm)
    assert isinstance(norm, InferenceForm)
    x = torch.randn(2, 16, 96, 256) + 1  # more values than are squared at a time
    with torch.no_grad():
        exact = F.group_norm(x.double(), 8, norm.weight.double(), norm.bias.double())
        found = norm(x.contiguous(memory_format=torch.channels_last))
        errors = [(y - exact).abs().max() for y in (found, norm(x))]
    assert errors[0] < 3 * errors[1]
    assert found.is_contiguous(memory_format=torch.channels_last)


def block_of(kind: str) -> tuple[nn.Module, tuple]:
    from diffusers.models.activations import GEGLU
    from diffusers.models.resnet import ResnetBlock2D
    from diffusers.models.upsampling import Upsample2D

    maps, time = torch.randn(2, 8, 8, 8), torch.randn(2, 12)
    resnet = dict(in_channels=8, temb_channels=12, groups=4)
    return {
        'resnet': (ResnetBlock2D(**resnet), (maps, time)),
        'wider resnet': (ResnetBlock2D(**resnet, out_channels=12), (maps, time)),
        'resnet without time': (ResnetBlock2D(in_channels=8, temb_channels=None, groups=4), (maps, None)),
        'scaled resnet': (ResnetBlock2D(**resnet, output_scale_factor=2.0), (maps, time)),
        'modulated resnet': (ResnetBlock2D(**resnet, time_embedding_norm='scale_shift'), (maps, time)),
        'enlarging resnet': (ResnetBlock2D(**resnet, up=True), (maps, time)),
        'gate': (GEGLU(8, 16), (torch.randn(2, 5, 8),)),
        'enlargement': (Upsample2D(8, use_conv=True), (maps,)),
        'enlargement to a size': (Upsample2D(8, use_conv=True), (maps, (15, 17))),
        'enlargement alone': (Upsample2D(8), (maps,)),
    }[kind]


@pytest.mark.parametrize(
    'kind',
    [
        'resnet',
        'wider resnet',
        'resnet without time',
        'scaled resnet',
        'modulated resnet',
        'enlarging resnet',
        'gate',
        'enlargement',
        'enlargement to a size',
        'enlargement alone',
    ],
)
def test_block_in_its_form_gives_the_numbers_of_the_block(kind):
    block, inputs = block_of(kind)
    block.eval()
    fast = optimize_for_inference(copy.deepcopy(block))
    changed = any(isinstance(m, InferenceForm) for m in fast.modules())
    assert changed == (kind != 'enlargement alone') and isinstance(fast, type(block))
    assert list(fast.state_dict()) == list(block.state_dict())
    before = [x.clone() if isinstance(x, torch.Tensor) else x for x in inputs]
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            found, expected = fast(*inputs), block(*inputs)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    for x, y in zip(inputs, before):
        assert x is y or torch.equal(x, y), 'what comes in stays as it is'


def test_training_blocks_keep_the_maps_of_the_graph():
    block, inputs = block_of('resnet')
    fast = optimize_for_inference(copy.deepcopy(block))
    gradients = []
    for module in (block, fast):
        module.train()
        module(*inputs).square().sum().backward()
        gradients.append([p.grad for p in module.parameters()])
    for ours, theirs in zip(*gradients):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
