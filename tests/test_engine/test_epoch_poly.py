"""Polynomial decay in steps of an epoch."""

from __future__ import annotations

import pytest
import torch

from mmmtl.engine.epoch_poly import EpochPolyLR
from mmmtl.errors import ConfigError


def test_the_rate_steps_at_epochs():
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=2e-5)
    scheduler, rates = EpochPolyLR(optimizer, epochs=4, epoch_length=3, by_epoch=False), []
    for _ in range(13):
        rates.append(optimizer.param_groups[0]['lr'])
        scheduler.step()
    assert rates == pytest.approx([2e-5 * (1 - e / 4) ** 0.9 for e in range(4) for _ in range(3)] + [0.0])


@pytest.mark.parametrize(
    'arguments', [dict(by_epoch=True), dict(by_epoch=False, power=0), dict(by_epoch=False, epochs=0)]
)
def test_mistakes(arguments):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    with pytest.raises(ConfigError, match='EpochPolyLR'):
        EpochPolyLR(optimizer, **{'epochs': 2, 'epoch_length': 2, **arguments})
