"""Embedding of a diffusion time, batch norms that it modulates (FiLM), and the convolutional block built on them."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.ops.convolution import Conv1x1, conv1x1_affine, conv3x3
from mmmtl.ops.norm_act import batch_norm_modulate, modulate
from mmmtl.ops.precision import to_float32, without_autocast


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
        """(N,) → (N, width), at least in float32: the sinusoids amplify rounding."""
        with without_autocast(log_snr):
            x, frequencies = to_float32(log_snr)[:, None], to_float32(self.frequencies)
            angle = x * frequencies * (2 * math.pi)
            x = torch.cat([x.to(angle), angle.sin(), angle.cos()], 1)
            x = F.gelu(F.linear(x, to_float32(self.fc1.weight), to_float32(self.fc1.bias)))
            return F.silu(F.linear(x, to_float32(self.fc2.weight), to_float32(self.fc2.bias)))


class FilmNorm(nn.Module):
    """BatchNorm, FiLM by a time embedding if there is one, GELU if asked for: one operation on the map.

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

    def film_parameters(self, time: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Gain and offset of the map, each (N, C), at N times; in evaluation the norm's statistics are folded in.

        Args:
            time: Embeddings (N, ``time_width``); None for a norm without modulation.

        Raises:
            ConfigError: A norm that needs the time did not get it, or the other way round.
        """
        if (time is None) != (self.film is None):
            raise ConfigError(
                'FilmNorm: modulated by time (time_width is set), but called without a time embedding'
                if time is None
                else 'FilmNorm: called with a time embedding, but built without time_width; nothing would use it'
            )
        norm = self.norm
        gain, offset = to_float32(norm.weight)[None], to_float32(norm.bias)[None]
        if self.film is not None and time is not None:
            scale, shift = to_float32(self.film(time.to(self.film.weight.dtype))).chunk(2, 1)
            gain, offset = gain * (scale + 1), offset * (scale + 1) + shift
        if not norm.training:
            gain = gain * torch.rsqrt(to_float32(norm.running_var) + norm.eps)
            offset = offset - to_float32(norm.running_mean) * gain
        return gain, offset

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Map (B, C, h, w), and an embedding (1 or B, ``time_width``) → map of the same shape."""
        gain, offset = self.film_parameters(time)
        if self.norm.training:
            return batch_norm_modulate(x, self.norm, gain, offset, self.act)
        return modulate(x, gain, offset, self.act)

    def after_conv1x1(self, conv: Conv1x1, x: Tensor, time: Tensor | None = None) -> Tensor:
        """``self(conv(x), time)`` of a norm without activation; in evaluation the two are one convolution."""
        if self.norm.training or self.act:
            return self(conv(x), time)
        return conv1x1_affine(x, conv.weight, conv.bias, *self.film_parameters(time))


class ConvBlock(nn.Module):
    """conv3x3 → BN (→ FiLM) → GELU → conv1x1; (B, E, h, w) → the same shape.

    Args:
        width: Channels E.
        time_width: Channels of the time embedding; None: no FiLM.
        conv3: Makes the 3x3 convolution from its input and output channels.
    """

    def __init__(
        self, width: int, time_width: int | None = None, conv3: Callable[[int, int], nn.Conv2d] = conv3x3
    ) -> None:
        super().__init__()
        self.conv3 = conv3(width, width)
        self.norm = FilmNorm(width, time_width)
        self.conv1 = Conv1x1(width, width)

    def hidden(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        """Everything but the last convolution."""
        return self.norm(self.conv3(x), time)

    def forward(self, x: Tensor, time: Tensor | None = None) -> Tensor:
        return self.conv1(self.hidden(x, time))
