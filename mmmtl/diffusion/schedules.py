"""Noise schedules and the deterministic sampler step: pure maths on tensors.

A schedule gives the log signal-to-noise ratio of a time in [0, 1] (0 = clean, 1 = noise); signal and noise amplitudes
follow from it with alpha² + sigma² = 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mmmtl.errors import ConfigError


def cosine_log_snr(time: Tensor) -> Tensor:
    """Log signal-to-noise ratio of the cosine schedule (TaskDiffusion, after Nichol & Dhariwal 2021).

    ``-log(max(cos(pi/2 · (t + 0.0002) / 1.00025)^-2 - 1, 1e-5))``: from 11.5 at time 0 to -18.9 at time 1.

    Args:
        time: Any shape, in [0, 1].
    """
    cosine = torch.cos((time + 0.0002) / 1.00025 * math.pi * 0.5)
    return -torch.log((cosine**-2 - 1).clamp(min=1e-5))


def amplitudes(log_snr: Tensor, ndim: int = 4) -> tuple[Tensor, Tensor]:
    """Signal and noise amplitudes (alpha, sigma) of (N,) log ratios, shaped (N, 1, ...) with ``ndim`` dimensions."""
    shape = (-1, *[1] * (ndim - 1))
    return log_snr.sigmoid().sqrt().reshape(shape), (-log_snr).sigmoid().sqrt().reshape(shape)


def noised(clean: Tensor, noise: Tensor, log_snr: Tensor) -> Tensor:
    """Forward process: ``alpha · clean + sigma · noise``, one log ratio per sample (N,)."""
    alpha, sigma = amplitudes(log_snr, clean.ndim)
    return alpha * clean + sigma * noise


def ddim_times(steps: int, time_difference: int = 1) -> list[tuple[float, float]]:
    """(now, next) of every sampling step, from noise to clean.

    Step k of T goes from 1 - k/T to 1 - (k + 1 + ``time_difference``)/T (at least 0): the asymmetric time intervals of
    TaskDiffusion. Three steps: (1, 1/3), (2/3, 0), (1/3, 0).

    Raises:
        ConfigError: For fewer than one step or a negative difference.
    """
    if steps < 1 or time_difference < 0:
        raise ConfigError(f'ddim_times needs steps >= 1 and time_difference >= 0, got {steps} and {time_difference}')
    return [(1 - k / steps, max(1 - (k + 1 + time_difference) / steps, 0.0)) for k in range(steps)]


def ddim_step(noisy: Tensor, clean: Tensor, log_snr: Tensor, log_snr_next: Tensor) -> Tensor:
    """Deterministic step (DDIM, Song et al. 2021) towards the estimate ``clean`` of the clean map.

    Args:
        noisy: z at the present time.
        clean: Estimate of z at time 0.
        log_snr, log_snr_next: Log ratios (N,) or (1,) now and after the step.
    """
    alpha, sigma = amplitudes(log_snr, noisy.ndim)
    alpha_next, sigma_next = amplitudes(log_snr_next, noisy.ndim)
    noise = (noisy - alpha * clean) / sigma.clamp(min=1e-8)
    return alpha_next * clean + sigma_next * noise
