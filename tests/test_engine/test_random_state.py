"""Random state: captured as plain tensors, put back exactly, on disk as in memory."""

from __future__ import annotations

import io
import random
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from mmmtl.engine.random_state import capture, noise_generators, restore, seed_noise


class Noisy(nn.Module):
    def __init__(self, source):
        super().__init__()
        self.noise_source = source


def model() -> nn.Module:
    shared = torch.Generator()
    return nn.ModuleDict(
        dict(
            plain=nn.Linear(1, 1),
            bare=Noisy(torch.Generator()),
            none=Noisy(None),
            held=Noisy(SimpleNamespace(generator=shared)),
            twin=Noisy(shared),
        )
    )


def draw(net) -> list[float]:
    noise = [float(torch.rand((), generator=g)) for g in noise_generators(net).values()]
    return [
        float(torch.rand(())),
        float(torch.randn(())),
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        *noise,
    ]


def test_generators_are_found_once():
    assert list(noise_generators(model())) == ['bare', 'held']
    assert noise_generators(None) == {} and noise_generators(nn.Linear(1, 1)) == {}


def test_seeding_tells_sources_ranks_and_seeds_apart():
    net, seen = model(), []
    for seed in range(8):
        seed_noise(net, seed)
        seen.extend(draw(net)[-2:])
    assert len(set(seen)) == 16
    seed_noise(net, 3)
    assert draw(net)[-2:] == seen[6:8]


def test_round_trip_through_a_file():
    net = model()
    seed_noise(net, 1)
    random.gauss(0, 1), np.random.randn(), torch.randn(())  # each keeps a second number in hand
    buffer = io.BytesIO()
    torch.save(capture(net), buffer)
    expected = [draw(net), draw(net)]
    for source in noise_generators(net).values():
        source.manual_seed(99)
    torch.manual_seed(99), random.seed(99), np.random.seed(99)
    buffer.seek(0)
    assert restore(torch.load(buffer, weights_only=True), net) == []
    assert [draw(net), draw(net)] == expected


def test_unknown_sources_are_named_and_left_alone():
    net = model()
    state = capture(net)
    del state['noise']['held']
    before = noise_generators(net)['held'].get_state()
    torch.rand(3)
    assert restore(state, net) == ['held']
    assert torch.equal(noise_generators(net)['held'].get_state(), before)
