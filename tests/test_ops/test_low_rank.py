"""Gated sums of low-rank convolutions, as one pair and as one kernel, equal the sums written out."""

from __future__ import annotations

import torch
from torch import nn

from mmmtl.ops.low_rank import LowRankConv2d, collapsed_sum, gated_sum


def test_gated_and_collapsed_sums():
    torch.manual_seed(0)
    pairs = [LowRankConv2d(6, rank).double() for rank in (2, 3, 5)]
    conv, x = nn.Conv2d(6, 6, 3, padding=1).double(), torch.randn(2, 6, 4, 5, dtype=torch.float64)
    gates, offset, gain = (torch.randn(*s, dtype=torch.float64) for s in ((2, 3), (6,), (6,)))
    expected = sum(gates[:, e, None, None, None] * pair(x) for e, pair in enumerate(pairs))
    assert torch.allclose(gated_sum(x, pairs, gates), expected, atol=1e-12)
    with torch.no_grad():
        terms = [[(pair, gate * gain) for pair, gate in zip(pairs, row)] for row in gates]
        found = collapsed_sum(x, conv, offset, terms)
        wanted = conv(x) + offset[:, None, None] + gain[:, None, None] * expected
    assert torch.allclose(found, wanted, atol=1e-12)
