"""Weights as a CPU multiplies by them in half precision, made once: cast, and in channels-last memory.

Autocast casts every weight in every prediction, and oneDNN, which finds a map and a weight in different memory formats,
reorders the weight before every convolution: on a processor with AMX this takes longer than the convolution itself.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .convolution import Conv1x1, as_channels_last, conv1x1
from .dispatch import precision, predicting, served
from .gemm import FastLinear
from .inference import InferenceForm, inference_form_of


def prepares(x: Tensor, weight: Tensor) -> bool:
    """Whether products of ``x`` take prepared weights here."""
    return predicting() and served('prepared_weights', x) and precision(weight) is precision(x)


class _Prepared(InferenceForm):
    weight: nn.Parameter
    bias: nn.Parameter | None

    def prepared(self, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
        """Weight and bias in a precision."""

        def prepare() -> tuple[Tensor, Tensor | None]:
            weight = self.weight.detach().to(dtype)
            bias = None if self.bias is None else self.bias.detach().to(dtype)
            return as_channels_last(weight) if weight.ndim == 4 else weight, bias

        sources = [self.weight] if self.bias is None else [self.weight, self.bias]
        return self.remember(dtype, sources, prepare)


@inference_form_of(nn.Linear, FastLinear)
class PreparedLinear(_Prepared):
    """A linear layer with prepared weights."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., I) → (..., O)."""
        if not prepares(x, self.weight):
            return super().forward(x)
        dtype = precision(x)
        return F.linear(x.to(dtype), *self.prepared(dtype))


@inference_form_of(nn.Conv2d, Conv1x1)
class PreparedConv2d(_Prepared):
    """A convolution with prepared weights."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, I, h, w) → (B, O, h', w')."""
        if x.ndim != 4 or not prepares(x, self.weight):
            return super().forward(x)
        dtype = precision(x)
        weight, bias = self.prepared(dtype)
        if isinstance(self, Conv1x1):
            return conv1x1(x.to(dtype), weight, bias)
        return self._conv_forward(x.to(dtype), weight, bias)  # type: ignore[operator]
