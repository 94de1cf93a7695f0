"""Noise of training: by the place of a sample, however the samples are dealt out, or in order from a generator."""

from __future__ import annotations

import copy

import torch

from mmmtl.diffusion.noise import GeneratorNoise

LIKE = torch.empty(())


def draws(seed: int, first: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    noise = GeneratorNoise(99)
    noise.enter(seed, first, rows)
    return noise.normal('z', (rows, 3, 2), LIKE), noise.uniform('time', (rows,), 2.0, 5.0, LIKE)


def test_a_sample_meets_the_same_noise_in_any_batch():
    whole, halves = draws(7, 8, 4), [draws(7, 8, 2), draws(7, 10, 2)]
    for one, parts in zip(whole, zip(*halves)):
        assert torch.equal(one, torch.cat(parts))
    assert len(whole[0].unique()) == whole[0].numel() and 2 <= whole[1].min() and whole[1].max() < 5
    assert not torch.equal(whole[0], draws(8, 8, 4)[0])


def test_labelled_samples_have_the_rows_of_all():
    noise = GeneratorNoise()
    noise.enter(1, 0, 4)
    all_rows = noise.normal('z', (4, 5), LIKE)
    noise.enter(1, 0, 4)
    assert torch.equal(noise.normal('z', (2, 5), LIKE, index=torch.tensor([1, 3])), all_rows[[1, 3]])
    assert noise.normal('z', (0, 5), LIKE, index=torch.tensor([], dtype=torch.long)).shape == (0, 5)


def test_names_and_repetitions_differ():
    noise = GeneratorNoise()
    noise.enter(1, 0, 2)
    found = [noise.normal(name, (2, 4), LIKE) for name in ('a', 'b', 'a')]
    assert not any(torch.equal(found[i], found[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_what_is_drawn_for_the_whole_batch_follows_its_place():
    """Seven numbers for a batch of three: one draw, the same for the same batch and another for the next."""
    noise = GeneratorNoise()
    found = []
    for first in (0, 0, 3):
        noise.enter(1, first, 3)
        found.append(noise.uniform('coin', (7,), 0.0, 1.0, LIKE))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


def test_without_a_place_draws_come_in_order():
    noise, generator = GeneratorNoise(5), torch.Generator().manual_seed(5)
    assert torch.equal(noise.normal('z', (3,), LIKE), torch.randn(3, generator=generator))
    again = copy.deepcopy(noise)
    assert torch.equal(again.normal('z', (3,), LIKE), torch.randn(3, generator=generator))
    noise.enter(1, 0, 1)
    noise.seed(5)
    assert torch.equal(noise.normal('z', (3,), LIKE), torch.randn(3, generator=torch.Generator().manual_seed(5)))
