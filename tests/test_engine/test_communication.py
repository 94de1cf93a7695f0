"""The time that processes spend on exchanging gradients, and that taking it changes no gradient."""

from __future__ import annotations

import time

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmmtl.engine.communication import CommunicationClock
from tests.distributed import run_ranks


def gradients(watched: bool) -> tuple[list[torch.Tensor], float]:
    dist.init_process_group('gloo')
    torch.manual_seed(0)
    model = DistributedDataParallel(nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 1)), bucket_cap_mb=0.01)
    clock = CommunicationClock()
    assert clock.attach(model) if watched else True
    if dist.get_rank() == 1:
        time.sleep(0.3)  # the others wait for it
    inputs = torch.randn(8, 64, generator=torch.Generator().manual_seed(dist.get_rank()))
    model(inputs).square().mean().backward()
    seconds = clock.seconds()
    return [p.grad.clone() for p in model.parameters()], seconds if clock.seconds() == 0.0 else -1.0


def test_gradients_are_the_same_and_the_wait_is_counted():
    plain, watched = (run_ranks(gradients, 2, flag) for flag in (False, True))
    assert all(ok for ok, _ in plain + watched), plain + watched
    for (_, (one, _)), (_, (other, _)) in zip(plain, watched):
        assert all(torch.equal(a, b) for a, b in zip(one, other))
    assert watched[0][1][1] > 0.2 and 0 < watched[1][1][1] < 0.2


def test_exchanges_at_the_same_time_count_once():
    clock = CommunicationClock()
    clock._spans = [(1.0, 3.0), (2.0, 4.0), (6.0, 7.0), (6.2, 6.4)]
    assert clock.seconds() == pytest.approx(4.0) and clock.seconds() == 0.0
    assert not clock.attach(nn.Linear(1, 1))
