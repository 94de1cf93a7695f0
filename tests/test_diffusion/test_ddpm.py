"""The few-step denoising chain: published constants, Bayes' rule, and what a perfect network gives back."""

from __future__ import annotations

import math

import pytest
import torch

from mmmtl.diffusion.ddpm import DenoisingChain, make_betas


def test_published_constants_of_two_steps():
    chain = DenoisingChain(make_betas(2))
    assert chain.betas == pytest.approx([1e-3, 1e-2], rel=1e-12)
    assert chain.signal == pytest.approx([0.99949987, 0.99448985], abs=1e-7)
    assert chain.noise == pytest.approx([0.03162277, 0.1048332], abs=1e-7)
    assert chain.clean_part == pytest.approx([1, 0.90946305], abs=5e-8)
    assert chain.noisy_part == pytest.approx([0, 0.09053571], abs=5e-8)
    assert chain.deviation[1] == pytest.approx(0.0301649, abs=1e-7)


def test_the_two_rules_agree_up_to_two_steps_and_not_beyond():
    assert make_betas(2, rule='linear') == pytest.approx(make_betas(2), rel=1e-12)
    assert make_betas(3)[1] == pytest.approx(0.00433114, abs=5e-8)
    assert make_betas(3, rule='linear')[1] == pytest.approx(0.0055, abs=1e-12)
    assert make_betas(1) == pytest.approx([1e-3])


@pytest.mark.parametrize('step', [1, 2, 3])
def test_step_back_is_bayes_rule(step):
    """p(x_{t-1} | x_t, x_0) on a fine grid, from the two Gaussians it is made of."""
    betas = make_betas(4, 0.02, 0.3)
    chain = DenoisingChain(betas)
    clean, current = 0.7, -0.2
    kept = math.prod(1 - b for b in betas[:step])
    grid = torch.linspace(-4, 4, 200001, dtype=torch.float64)
    prior = -((grid - math.sqrt(kept) * clean) ** 2) / (2 * (1 - kept))
    likelihood = -((current - math.sqrt(1 - betas[step]) * grid) ** 2) / (2 * betas[step])
    density = (prior + likelihood).softmax(0)
    mean = (density * grid).sum()
    deviation = ((density * (grid - mean) ** 2).sum()).sqrt()
    zero, one = torch.tensor(0.0, dtype=torch.float64), torch.tensor(1.0, dtype=torch.float64)
    found = chain.step_back(clean + zero, current + zero, zero, step)
    assert found.item() == pytest.approx(mean.item(), abs=1e-6)
    assert (chain.step_back(clean + zero, current + zero, one, step) - found).item() == pytest.approx(
        deviation.item(), abs=1e-6
    )


def test_diffuse_adds_up_the_single_steps():
    betas = make_betas(3, 0.01, 0.2)
    chain = DenoisingChain(betas)
    x, variance = 1.0, 0.0
    for step, beta in enumerate(betas):
        x, variance = x * math.sqrt(1 - beta), variance * (1 - beta) + beta
        assert chain.signal[step] == pytest.approx(x)
        assert chain.noise[step] == pytest.approx(math.sqrt(variance))


def test_an_oracle_brings_the_signal_back():
    chain = DenoisingChain(make_betas(5, 0.05, 0.5))
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(20000, generator=generator)
    x = chain.diffuse(clean, torch.randn(clean.shape, generator=generator), 4)
    for step in range(4, 0, -1):
        x = chain.step_back(clean, x, torch.randn(clean.shape, generator=generator), step)
        expected = chain.diffuse(clean, torch.zeros_like(clean), step - 1)
        assert (x - expected).std().item() == pytest.approx(chain.noise[step - 1], rel=0.03)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(steps=2, rule='cosine'), "must be one of.*'cosine'"),
        (dict(steps=2, rule='linera'), "Did you mean 'linear'"),
        (dict(steps=0), 'at least 1 step, got 0'),
        (dict(steps=2, low=0.5, high=0.1), '0.5 and 0.1'),
    ],
)
def test_mistakes_in_the_schedule(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_betas(**arguments)


def test_mistakes_in_the_chain():
    with pytest.raises(ValueError, match='between 0 and 1'):
        DenoisingChain([0.1, 1.0])
    chain = DenoisingChain(make_betas(2))
    with pytest.raises(ValueError, match=r'starts from 1 \.\. 1, got 0'):
        chain.step_back(torch.zeros(1), torch.zeros(1), torch.zeros(1), 0)
