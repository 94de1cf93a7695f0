"""Discrete Gaussian diffusion of a few steps, the network predicting the clean signal: DiffusionMTL's noise decay and
denoising (its section 3; Ho et al. 2020, equations 4, 6 and 7).

Pure maths: numbers are computed in double precision, tensors go through :meth:`DenoisingChain.diffuse` and
:meth:`DenoisingChain.step_back`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from mmmtl.errors import ConfigError, suggest

BETA_RULES = ('sqrt_linear', 'linear')


def make_betas(steps: int, low: float = 1e-3, high: float = 1e-2, rule: str = 'sqrt_linear') -> list[float]:
    """Variances of the noise added at each of ``steps`` steps, growing from ``low`` to ``high``.

    Args:
        steps: S, at least 1. A single step takes ``low``.
        low, high: Ends, in (0, 1).
        rule: ``sqrt_linear``: the root of beta grows linearly (the published code, from latent diffusion);
            ``linear``: beta itself does (the paper's word). The two are the same up to two steps.

    Raises:
        ConfigError: For an unknown rule or values out of range.
    """
    if rule not in BETA_RULES:
        raise ConfigError(f"beta rule must be one of {BETA_RULES}, got '{rule}'.{suggest(rule, BETA_RULES)}")
    if steps < 1:
        raise ConfigError(f'a diffusion needs at least 1 step, got {steps}')
    if not 0 < low <= high < 1:
        raise ConfigError(f'betas need 0 < low <= high < 1, got {low} and {high}')
    # numpy, because a default device (torch.device('meta') while a model is measured) must not reach these numbers
    if rule == 'linear':
        return np.linspace(low, high, steps).tolist()
    return (np.linspace(math.sqrt(low), math.sqrt(high), steps) ** 2).tolist()


class DenoisingChain:
    """A chain of ``len(betas)`` steps; x_t is the signal after the noise of steps 0 .. t.

    Args:
        betas: Variances, each in (0, 1); see :func:`make_betas`.

    Attributes:
        steps: S. The noisiest state is x_{S-1}.
        signal, noise: Per t, the factors of clean signal and noise in x_t: sqrt(abar_t) and sqrt(1 - abar_t).
        clean_part, noisy_part: Per t, the factors of the predicted clean signal and of x_t in the mean of x_{t-1}.
        deviation: Per t, the standard deviation of x_{t-1} around that mean; not used at t = 0.
    """

    def __init__(self, betas: Sequence[float]) -> None:
        if not len(betas) or not all(0 < b < 1 for b in betas):
            raise ConfigError(f'betas must be numbers between 0 and 1, at least one, got {list(betas)}')
        self.betas, self.steps = [float(b) for b in betas], len(betas)
        kept: list[float] = []
        before: list[float] = []
        for beta in self.betas:
            before.append(kept[-1] if kept else 1.0)
            kept.append(before[-1] * (1 - beta))
        self.signal = [math.sqrt(a) for a in kept]
        self.noise = [math.sqrt(1 - a) for a in kept]
        self.clean_part = [b * math.sqrt(p) / (1 - a) for b, p, a in zip(self.betas, before, kept)]
        self.noisy_part = [(1 - p) * math.sqrt(1 - b) / (1 - a) for b, p, a in zip(self.betas, before, kept)]
        # the variance of the first step is 0; published code floors it at 1e-20 to take a logarithm
        self.deviation = [math.sqrt(max(b * (1 - p) / (1 - a), 1e-20)) for b, p, a in zip(self.betas, before, kept)]

    def diffuse(self, clean: Tensor, noise: Tensor, step: int) -> Tensor:
        """x_``step`` from the clean signal and standard normal ``noise`` of the same shape."""
        return self.signal[step] * clean + self.noise[step] * noise

    def step_back(self, clean: Tensor, current: Tensor, noise: Tensor, step: int) -> Tensor:
        """Draw x_{``step`` - 1} given x_``step`` = ``current`` and the network's prediction of the clean signal.

        Raises:
            ConfigError: At step 0, whose result is the prediction itself.
        """
        if not 0 < step < self.steps:
            raise ConfigError(f'a step back starts from 1 .. {self.steps - 1}, got {step}')
        return self.clean_part[step] * clean + self.noisy_part[step] * current + self.deviation[step] * noise
