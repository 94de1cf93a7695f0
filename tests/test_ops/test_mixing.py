"""Weighted sums of maps, written out and as one product, equal the plain expressions."""

from __future__ import annotations

import pytest
import torch

from mmmtl.ops.mixing import mix_maps, mixable, weighted_sum


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize('recording', [True, False])
def test_a_weighted_sum(recording):
    maps, weights = [draw(2, 5, 3, 4, seed=s).requires_grad_(recording) for s in range(3)], draw(2, 3, 3, 4, seed=9)
    expected = sum(weights[:, i : i + 1] * maps[i] for i in range(3))
    found = weighted_sum(maps, weights)
    assert torch.allclose(found, expected, atol=1e-12)
    if recording:
        for a, b in zip(*(torch.autograd.grad(y.square().sum(), maps) for y in (found, expected))):
            assert torch.allclose(a, b, atol=1e-10)
    with torch.no_grad():
        assert torch.allclose(weighted_sum(maps, weights), expected, atol=1e-12)
    assert all(torch.equal(m, draw(2, 5, 3, 4, seed=s)) for s, m in enumerate(maps))


def test_mixing_is_the_same_in_a_list_and_stacked():
    relation, maps = draw(2, 4, 3, 3, 4), [draw(2, 5, 3, 4, seed=s) for s in range(3)]
    expected = torch.einsum('bsphw,pbchw->sbchw', relation, torch.stack(maps))
    assert mixable(maps) is maps  # on a CPU
    for form in (maps, torch.stack(maps)):
        found = mix_maps(relation, form)
        assert len(found) == 4
        assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, expected))
