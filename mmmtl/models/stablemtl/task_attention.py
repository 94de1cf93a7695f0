"""1-to-N task attention and task masking: the main stream attends to the auxiliary features of the other tasks.

Section 3.3 of StableMTL (arXiv 2506.08013), at every self-attention layer and at every pixel by itself; there is no
attention across pixels. Symbols are those of the package's table (:mod:`mmmtl.models.stablemtl`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError


class MLP(nn.Module):
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


def attention_weights(query: Tensor, key: Tensor, heads: int, masked: Collection[int] = ()) -> Tensor:
    """Softmax over the S sources of q · k / sqrt(C / heads), at every pixel and head.

    Args:
        query: (B, N, C).
        key: (S, B, N, C).
        heads: Number of heads, a divisor of C.
        masked: Sources that get no weight; not all of them.

    Returns:
        (S, B, N, heads).
    """
    split = (heads, query.shape[-1] // heads)
    # products and sums over a few sources, not batches of thousands of tiny matrix products
    logits = (query * key).unflatten(-1, split).sum(-1) * split[1] ** -0.5
    if masked:
        barred = logits.new_tensor([float('-inf') if s in masked else 0.0 for s in range(len(key))])
        logits = logits + barred[:, None, None, None]
    return logits.softmax(0)


class TaskAttention(nn.Module):
    """The 1-to-N attention of one layer.

    Queries, keys and values have their own MLPs for every task; the output projection is shared and starts at zero, so
    that a new main stream equals the stream it was copied from.

    Args:
        tasks: Names of all tasks.
        channels: C, width of the layer.
        heads: Number of heads.
        query_width: Hidden width of the queries' MLPs.
    """

    def __init__(self, tasks: Sequence[str], channels: int, heads: int = 4, query_width: int = 640) -> None:
        super().__init__()
        if channels % heads:
            raise ConfigError(f'task attention: {heads} heads do not divide the {channels} channels of the layer')
        self.channels, self.heads = channels, heads
        self.key = nn.ModuleDict({t: MLP(channels, channels // 2, channels) for t in tasks})
        self.value = nn.ModuleDict({t: MLP(channels, channels // 2, channels) for t in tasks})
        self.query = nn.ModuleDict({t: MLP(channels, *[query_width] * 3, channels) for t in tasks})
        self.out = nn.Linear(channels, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def project(self, feature: Tensor, task: str) -> tuple[Tensor, Tensor]:
        """Key and value (each (B, N, C)) of a source's feature (B, N, C); they do not depend on the main task."""
        return self.key[task](feature), self.value[task](feature)

    def weights(self, a: Tensor, task: str, key: Tensor, masked: Collection[int] = ()) -> Tensor:
        """How much of every source a pixel takes, (S, B, N, heads); arguments as in :meth:`forward`."""
        return attention_weights(self.query[task](a), key, self.heads, masked)

    def forward(
        self,
        a: Tensor,
        task: str,
        key: Tensor,
        value: Tensor,
        masked: Collection[int] = (),
        draw: Callable[[Tensor], int] | None = None,
    ) -> Tensor:
        """What is added to the self-attention's output of the main stream of ``task``.

        Args:
            a: That output, (B, N, C).
            task: The main task.
            key, value: Of the S sources, (S, B, N, C).
            masked: Sources that are not attended to.
            draw: Task masking: given the sources' mean weights (S,), names one more that is masked.

        Returns:
            (B, N, C); exactly zero where no source is left.
        """
        q = self.query[task](a)  # B, N, C
        if draw is not None and len(masked) < len(key):
            with torch.no_grad():
                scores = attention_weights(q, key, self.heads, masked).mean((1, 2, 3))
            masked = (*masked, draw(scores))
        if len(masked) == len(key):
            return torch.zeros_like(a)
        w = attention_weights(q, key, self.heads, masked)[..., None]  # S, B, N, heads, 1
        o = (w * value.unflatten(-1, (self.heads, -1))).sum(0).flatten(-2)  # B, N, C
        return self.out(o)
