"""Weights prepared once for half precision give what autocast gives."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmmtl.models.layers.basic_block import BasicBlock
from mmmtl.ops import dispatch, optimize_for_inference
from mmmtl.ops.convolution import Conv1x1
from mmmtl.ops.prepared import PreparedConv2d, PreparedLinear
from mmmtl.ops.winograd import WinogradConv2d


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def predicted(module, x):
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        return module(x)


@pytest.mark.parametrize(
    'layer, shape, form',
    [
        (nn.Linear(12, 7), (2, 5, 12), PreparedLinear),
        (nn.Linear(12, 7, bias=False), (5, 12), PreparedLinear),
        (Conv1x1(6, 4), (2, 6, 5, 7), PreparedConv2d),
        (nn.Conv2d(6, 8, 3, stride=2, padding=1, groups=2), (2, 6, 9, 7), PreparedConv2d),
        (nn.Conv2d(6, 8, 3, padding='same', padding_mode='reflect', bias=False), (2, 6, 9, 7), PreparedConv2d),
    ],
)
def test_layers_of_half_precision(layer, shape, form):
    """As autocast computes them, also after a change of the weight; in single precision nothing is kept."""
    fast, x = optimize_for_inference(copy.deepcopy(layer)), draw(*shape)
    assert isinstance(fast, form)
    with torch.no_grad():
        assert torch.equal(fast(x), layer(x)) and not fast.__dict__.get('_remembered_for_inference')
    for _ in range(2):
        found, expected = predicted(fast, x), predicted(layer, x)
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2)
        for weight in (layer.weight, fast.weight):
            weight.data.mul_(3)
    assert fast(x).requires_grad and type(fast.train()) is type(layer)


@pytest.mark.parametrize('shortcut', [False, True])
def test_wide_convolutions_go_the_direct_way_where_tiles_multiply(monkeypatch, shortcut):
    """A residual block and a 1x1 before a 3x3, folded as with Winograd's algorithm, give what they give in single precision."""
    monkeypatch.setitem(dispatch._tables, 'fast', dispatch.kernels_of({'amx_bf16'}))
    monkeypatch.setattr('mmmtl.ops.winograd.TRANSFORMING', 16)
    torch.manual_seed(0)
    merged = nn.Sequential(nn.Conv2d(64, 64, 1), nn.Conv2d(64, 64, 3, padding=1, bias=shortcut), nn.ReLU())
    for module in (BasicBlock(64), merged):
        fast, x = optimize_for_inference(copy.deepcopy(module)), draw(2, 64, 9, 13)
        assert any(isinstance(m, WinogradConv2d) for m in fast.modules())
        with torch.no_grad():
            expected = module.eval()(x)
        found = predicted(fast, x)
        assert found.dtype == torch.bfloat16 and found.is_contiguous(memory_format=torch.channels_last)
        assert ((found - expected).norm() / expected.norm()).item() < 0.01
