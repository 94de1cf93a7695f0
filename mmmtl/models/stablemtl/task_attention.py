"""1-to-N task attention: a stream that predicts one task looks at the features of the others, pixel by pixel.

Section 3.3 of StableMTL (arXiv 2506.08013). At every self-attention layer of the main stream, the layer's output asks
the outputs that the auxiliary stream gave for the other tasks at the same pixel; there is no attention across pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Layer normalisation, then linear layers with GELU between them.

    Args:
        widths: Channels of the input, of every hidden layer and of the output.
    """

    def __init__(self, *widths: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(widths[0])
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(widths, widths[1:]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        for i, layer in enumerate(self.layers):
            x = layer(F.gelu(x) if i else x)
        return x


def _logits(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """(B, N, C) against (S, B, N, C) → (S, B, N, heads)."""
    split = (heads, query.shape[-1] // heads)
    return (query * key).unflatten(-1, split).sum(-1) * split[1] ** -0.5


def pixel_attention(query: Tensor, key: Tensor, value: Tensor, heads: int, closed: Sequence[int] = ()) -> Tensor:
    """Attention of every pixel to the same pixel of S sources.

    Args:
        query: (B, N, C).
        key, value: (S, B, N, C).
        heads: Number of heads, a divisor of C.
        closed: Sources that must not be looked at.

    Returns:
        (B, N, C).
    """
    # products and sums over a few sources, not batches of thousands of tiny matrix products
    logits = _logits(query, key, heads)
    if len(closed):
        barred = torch.zeros(len(key), dtype=torch.bool, device=query.device)
        barred[list(closed)] = True
        logits = logits.masked_fill(barred[:, None, None, None], float('-inf'))
    weights = logits.softmax(0)[..., None]
    return (weights * value.unflatten(-1, (heads, -1))).sum(0).flatten(-2)


def source_scores(query: Tensor, key: Tensor, heads: int) -> Tensor:
    """How much the S sources are looked at, averaged over batch, pixels and heads: (S,), sum 1; without gradient."""
    with torch.no_grad():
        return _logits(query, key, heads).softmax(0).mean((1, 2, 3))


class TaskAttention(nn.Module):
    """The 1-to-N attention of one layer.

    Queries, keys and values have their own perceptrons for every task; the output projection is shared and starts at
    zero, so that a new main stream equals the stream it was copied from.

    Args:
        tasks: Names of all tasks.
        channels: C, width of the layer.
        heads: Number of heads.
        query_width: Hidden width of the queries' perceptrons.
    """

    def __init__(self, tasks: Sequence[str], channels: int, heads: int = 4, query_width: int = 640) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f'task attention: {heads} heads do not divide the {channels} channels of the layer')
        self.channels, self.heads = channels, heads
        self.key = nn.ModuleDict({t: Perceptron(channels, channels // 2, channels) for t in tasks})
        self.value = nn.ModuleDict({t: Perceptron(channels, channels // 2, channels) for t in tasks})
        self.query = nn.ModuleDict({t: Perceptron(channels, *[query_width] * 3, channels) for t in tasks})
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def project(self, feature: Tensor, task: str) -> tuple[Tensor, Tensor]:
        """Key and value (each (B, N, C)) of a source's feature (B, N, C); they do not depend on who looks."""
        return self.key[task](feature), self.value[task](feature)

    def forward(
        self,
        x: Tensor,
        task: str,
        key: Tensor,
        value: Tensor,
        closed: Sequence[int] = (),
        hide: Callable[[Tensor], int] | None = None,
    ) -> Tensor:
        """What is added to the self-attention's output of the main stream of ``task``.

        Args:
            x: That output, (B, N, C).
            task: The task that is predicted.
            key, value: Of the sources, (S, B, N, C).
            closed: Places of sources that must not be looked at.
            hide: Given the shares (S,) of the sources in the attention, names one more to be closed.
        """
        query = self.query[task](x)
        if hide is not None:
            closed = (*closed, hide(source_scores(query, key, self.heads)))
        return self.out(pixel_attention(query, key, value, self.heads, closed))
