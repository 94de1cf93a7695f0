"""Parts that are computed again in the backward pass."""

from __future__ import annotations

import torch
from torch import nn

from mmmtl.ops.recompute import recomputed


def test_gradients_of_several_losses_one_after_another():
    torch.manual_seed(0)
    part = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).train()
    x = torch.randn(2, 2, 4, 4)
    gradients = []
    for call in (part, lambda x: recomputed(part, x)):
        out = call(x)
        losses = out[:, 0].square().sum(), out[:, 1].abs().sum()
        gradients.append([torch.autograd.grad(loss, part[0].weight, retain_graph=True)[0] for loss in losses])
    for plain, again in zip(*gradients):
        torch.testing.assert_close(again, plain)
    assert int(part[1].num_batches_tracked) == 2
