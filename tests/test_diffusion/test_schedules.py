"""The cosine schedule, amplitudes, sampling times and the DDIM step."""

from __future__ import annotations

import math

import pytest
import torch

from mmmtl.diffusion.schedules import amplitudes, cosine_log_snr, ddim_step, ddim_times, noised

# printed by the published program: time, log ratio, signal, noise
PUBLISHED = [
    (0.0, 11.512925, 0.99999499, 0.00316226),
    (1 / 3, 1.097766, 0.86593378, 0.50015861),
    (2 / 3, -1.098854, 0.49995464, 0.86605161),
    (0.999, -12.815342, 0.00164886, 0.99999863),
    (1.0, -18.907475, 0.00007840, 1.0),
]


@pytest.mark.parametrize(('time', 'ratio', 'signal', 'noise'), PUBLISHED)
def test_schedule_equals_published_numbers(time, ratio, signal, noise):
    log_snr = cosine_log_snr(torch.tensor([time]))
    alpha, sigma = amplitudes(log_snr)
    assert log_snr.item() == pytest.approx(ratio, abs=2e-6)
    assert alpha.shape == sigma.shape == (1, 1, 1, 1)
    assert alpha.item() == pytest.approx(signal, abs=5e-8)
    assert sigma.item() == pytest.approx(noise, abs=5e-8)


def test_amplitudes_are_a_quarter_circle_and_noise_grows():
    alpha, sigma = amplitudes(cosine_log_snr(torch.linspace(0, 1, 101)), ndim=1)
    assert torch.allclose(alpha.square() + sigma.square(), torch.ones(101), atol=1e-6)
    assert (sigma.diff() >= 0).all()


def test_times_of_three_steps():
    assert ddim_times(3) == [(1.0, pytest.approx(1 / 3)), (pytest.approx(2 / 3), 0.0), (pytest.approx(1 / 3), 0.0)]
    assert ddim_times(1) == [(1.0, 0.0)]
    assert ddim_times(2, 0) == [(1.0, 0.5), (0.5, 0.0)]
    with pytest.raises(ValueError, match='steps >= 1'):
        ddim_times(0)


def test_step_with_the_true_map_follows_the_same_noise():
    generator = torch.Generator().manual_seed(0)
    clean, noise = torch.rand(2, 3, 4, 4, generator=generator), torch.randn(2, 3, 4, 4, generator=generator)
    now, after = cosine_log_snr(torch.tensor([0.7, 0.5])), cosine_log_snr(torch.tensor([0.4, 0.1]))
    moved = ddim_step(noised(clean, noise, now), clean, now, after)
    assert torch.allclose(moved, noised(clean, noise, after), atol=1e-6)


def test_step_at_zero_noise_stays_finite():
    z = ddim_step(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), torch.tensor([math.inf]), torch.tensor([0.0]))
    assert torch.isfinite(z).all()
