"""A residual block and a head on an enlarged map equal the same operations one after the other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmmtl.ops import enlarged
from mmmtl.ops.convolution import Conv1x1, TapMajorConv2d
from mmmtl.ops.enlarged import residual_head


def plain(x, skip, conv3, act, conv1, head, scale):
    def up(y):
        return F.interpolate(y, scale_factor=scale, mode='bilinear', align_corners=False)

    return head(up(skip) + conv1(act(conv3(up(x)))))


def parts(inner, width, out):
    torch.manual_seed(0)
    modules = TapMajorConv2d(inner, width), Conv1x1(width, width), nn.Conv2d(width, out, 3, padding=1)
    return [m.double() for m in modules]


@pytest.mark.parametrize('scale', [1, 2, 4])
@pytest.mark.parametrize('out', [1, 9])
def test_equals_the_plain_expression_with_its_gradients(scale, out):
    conv3, conv1, head = parts(7, 30, out)
    x = torch.randn(2, 7, 4, 3, dtype=torch.float64, requires_grad=True)
    skip = torch.randn(2, 30, 4, 3, dtype=torch.float64, requires_grad=True)
    leaves = [x, skip, *(p for m in (conv3, conv1, head) for p in m.parameters())]
    results = []
    for function in (residual_head, plain):
        y = function(x, skip, conv3, F.gelu, conv1, head, scale)
        results.append([y, *torch.autograd.grad(y.square().sum(), leaves)])
    for found, expected in zip(*results):
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, atol=1e-9)


def test_bands_of_rows_equal_the_whole_map(monkeypatch):
    conv3, conv1, head = parts(5, 30, 2)
    x, skip = (torch.randn(2, c, 5, 4, dtype=torch.float64) for c in (5, 30))
    bands = []

    def act(y):
        bands.append(y.shape[2])
        return F.gelu(y)

    monkeypatch.setattr(enlarged, 'BAND_BYTES', 1)
    with torch.no_grad():
        expected = plain(x, skip, conv3, F.gelu, conv1, head, 4)
        found = residual_head(x, skip, conv3, act, conv1, head, 4, positionwise=True)
        assert len(bands) == 5 and max(bands) == 6
        assert torch.allclose(found, expected, atol=1e-10)
        bands.clear()
        residual_head(x, skip, conv3, act, conv1, head, 4)
    assert bands == [20]  # an activation that looks at the whole map gets the whole map
