"""Time embedding, and normalisation modulated by it (FiLM), with an activation.

The modulation of every block depends on the time alone, so a decoder asks all its blocks for their rows once per image
(or batch) and hands them on: ``rows = [block.rows(time) for block in blocks]``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.ops.norm_act import batch_norm_modulate, modulate
from mmmtl.ops.precision import to_float32

FilmRows = Sequence['tuple[Tensor, Tensor]']
"""Per modulated norm of a network, by its ``position``: gain and offset, each (N, C)."""


class TimeEmbedding(nn.Module):
    """Log signal-to-noise ratio → embedding: learned sinusoids, then Linear-GELU-Linear, then SiLU.

    Args:
        width: Channels of the embedding.
        frequencies: Number of learned frequencies.
    """

    def __init__(self, width: int, frequencies: int = 8) -> None:
        super().__init__()
        self.frequencies = nn.Parameter(torch.randn(frequencies))
        self.fc1 = nn.Linear(2 * frequencies + 1, width)
        self.fc2 = nn.Linear(width, width)

    def forward(self, log_snr: Tensor) -> Tensor:
        """(N,) → (N, width). At least in fp32, also under autocast: the sinusoids amplify rounding."""
        with torch.autocast(log_snr.device.type, enabled=False):
            x, frequencies = to_float32(log_snr)[:, None], to_float32(self.frequencies)
            angle = x * frequencies * (2 * math.pi)
            x = torch.cat([x.to(angle), angle.sin(), angle.cos()], 1)
            x = F.gelu(F.linear(x, to_float32(self.fc1.weight), to_float32(self.fc1.bias)))
            return F.silu(F.linear(x, to_float32(self.fc2.weight), to_float32(self.fc2.bias)))


class FilmNorm(nn.Module):
    """BatchNorm, optional FiLM by a time embedding, optional GELU: one operation on the map.

    ``y = act(norm(x) · (1 + scale) + shift)`` with (scale, shift) linear in the time embedding.

    Args:
        channels: C of the map.
        time_width: Channels of the time embedding; None: no modulation.
        act: Apply GELU.
    """

    def __init__(self, channels: int, time_width: int | None = None, act: bool = True) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.film = nn.Linear(time_width, 2 * channels) if time_width else None
        self.act = act
        self.position = -1

    def rows(self, time: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gain and offset (N, C) for N embeddings (N, time_width); in eval mode the norm's statistics are folded in."""
        norm = self.norm
        gain, offset = to_float32(norm.weight)[None], to_float32(norm.bias)[None]
        if self.film is not None and time is not None:
            scale, shift = to_float32(self.film(time.to(self.film.weight.dtype))).chunk(2, 1)
            gain, offset = gain * (scale + 1), offset * (scale + 1) + shift
        if not norm.training:
            gain = gain * torch.rsqrt(to_float32(norm.running_var) + norm.eps)
            offset = offset - to_float32(norm.running_mean) * gain
        return gain, offset

    def forward(self, x: Tensor, rows: FilmRows | None = None) -> Tensor:
        """(B, C, h, w) → same shape. ``rows``: those of all modulated norms of the network."""
        gain, offset = self.rows() if rows is None else rows[self.position]
        if self.norm.training:
            return batch_norm_modulate(x, self.norm, gain, offset, self.act)
        return modulate(x, gain, offset, self.act)


def index_film_norms(module: nn.Module) -> list[FilmNorm]:
    """All modulated norms below ``module``; each learns its ``position`` in the list."""
    norms = [m for m in module.modules() if isinstance(m, FilmNorm) and m.film is not None]
    for position, norm in enumerate(norms):
        norm.position = position
    return norms


def rows_of_step(rows: FilmRows, step: int) -> list[tuple[Tensor, Tensor]]:
    """The rows of one of N times."""
    return [(gain[step : step + 1], offset[step : step + 1]) for gain, offset in rows]
