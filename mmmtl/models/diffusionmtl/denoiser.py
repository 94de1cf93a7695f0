"""DiffusionMTL's denoiser: conditioning tokens ask, noisy task tokens answer (its section 3.4).

P rows (the maps of all tasks and samples of one step), N tokens of D channels each, a token for every 4x4 pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.layers.conv_block import on_grid
from mmmtl.ops.attention import attend
from mmmtl.ops.gemm import use_fast_linear
from mmmtl.ops.recompute import recomputed
from mmmtl.ops.take_rows import take_rows
from mmmtl.registry import MODELS


class StepEmbedding(nn.Module):
    """Step number → (1, ``width``, 1, 1): 256 cosines and sines of it, Linear, SiLU, Linear."""

    def __init__(self, width: int, frequencies: int = 128) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.layers = nn.Sequential(nn.Linear(2 * frequencies, width), nn.SiLU(), nn.Linear(width, width))
        for layer in (self.layers[0], self.layers[2]):
            nn.init.normal_(layer.weight, std=0.02)  # the biases keep Linear's own uniform start, as published

    def forward(self, step: int, like: Tensor) -> Tensor:
        angles = torch.arange(self.frequencies, device=like.device, dtype=torch.float32)
        angles = step * torch.exp(angles * (-math.log(10000) / self.frequencies))
        waves = torch.cat((angles.cos(), angles.sin()))[None]
        return self.layers(waves.to(self.layers[0].weight.dtype))[..., None, None]


def _mlp(width: int, ratio: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, int(width * ratio)), nn.GELU(), nn.Linear(int(width * ratio), width))


class CrossBlock(nn.Module):
    """One attention block over two streams of tokens.

    The noisy stream k passes an MLP and is then key and value; the conditioning stream q attends to it and is
    the stream that goes on to the output. Both are residual; norms come first.

    Args:
        width: Channels of a token, a multiple of ``heads``.
        heads: Attention heads.
        mlp_ratio: Hidden width of the MLPs over ``width``.
        conditioned: Two streams. Without, the noisy tokens attend to themselves and have one MLP (the
            ablation without multi-task conditioning).
    """

    def __init__(self, width: int, heads: int = 4, mlp_ratio: float = 4.0, conditioned: bool = True) -> None:
        super().__init__()
        if width % heads:
            raise ConfigError(f'{width} channels cannot be split into {heads} heads')
        self.heads, self.conditioned = heads, conditioned
        self.query_norm, self.source_norm, self.mlp_norm = (nn.LayerNorm(width) for _ in range(3))
        self.query, self.key_value = nn.Linear(width, width, bias=False), nn.Linear(width, 2 * width, bias=False)
        self.out, self.mlp = nn.Linear(width, width), _mlp(width, mlp_ratio)
        if conditioned:
            self.source_mlp_norm, self.source_mlp = nn.LayerNorm(width), _mlp(width, mlp_ratio)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def queries(self, tokens: Tensor) -> Tensor:
        """Normalised and projected tokens (P, N, width)."""
        return self.query(self.query_norm(tokens))

    def forward(self, q: Tensor, k: Tensor, queries: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """(P, N, width) twice → the same; ``queries`` are those of ``q`` where they are known already."""
        if self.conditioned:
            k = k + self.source_mlp(self.source_mlp_norm(k))
        source = k if self.conditioned else q
        queries = self.queries(q) if queries is None else queries
        split = (q.shape[0], -1, self.heads, q.shape[-1] // self.heads)
        keys, values = self.key_value(self.source_norm(source)).chunk(2, -1)  # (P, N, D) each
        mixed = attend(*(x.reshape(split).transpose(1, 2) for x in (queries, keys, values)))  # (P, heads, N, D / heads)
        q = q + self.out(mixed.transpose(1, 2).reshape(q.shape))  # (P, N, D)
        return q + self.mlp(self.mlp_norm(q)), k


class Condition(NamedTuple):
    """Conditioning tokens of a batch (B, N, width) and their queries in the first block, computed once per image."""

    tokens: Tensor
    queries: Tensor

    def rows(self, index: Tensor | None) -> Condition:
        """The condition of every denoised map; ``index`` (P,) gives the image of each, None: one map per image."""
        return self if index is None else Condition(take_rows(self.tokens, index), take_rows(self.queries, index))


@MODELS.register_module()
class CrossDenoiser(nn.Module):
    """Noisy maps of several tasks at one step → clean feature maps; everything but encoders and heads is shared.

    The maps of all tasks and samples form one batch of P rows for the attention, which works on a grid
    ``token_scale`` times coarser. There is no batch norm, so the result does not depend on how rows are
    grouped.

    Args:
        in_channels: Channels of the noisy maps, per task.
        out_channels: Channels of the raw output, per task.
        width: D, channels of the tokens and of the clean feature maps.
        hidden: Channels after the first 3x3 convolution of a task's head (512 in the published code at any
            width).
        depth, heads, mlp_ratio: Of the attention blocks.
        token_scale: Side of the square of pixels that a token stands for.
        conditioned: See :class:`CrossBlock`.
        recompute: In training keep only the attention blocks' inputs (about 1 % more time).
    """

    def __init__(
        self,
        in_channels: Mapping[str, int],
        out_channels: Mapping[str, int],
        width: int,
        hidden: int = 512,
        depth: int = 4,
        heads: int = 4,
        mlp_ratio: float = 4.0,
        token_scale: int = 4,
        conditioned: bool = True,
        recompute: bool = False,
    ) -> None:
        super().__init__()
        self.token_scale, self.conditioned, self.recompute = token_scale, conditioned, recompute
        self.blocks = nn.ModuleList(CrossBlock(width, heads, mlp_ratio, conditioned) for _ in range(depth))
        self.encoders = nn.ModuleDict({n: nn.Conv2d(c, width, 3, padding=1) for n, c in in_channels.items()})
        self.refiners = nn.ModuleDict(
            {
                n: nn.Sequential(
                    nn.Conv2d(width, width, 1),
                    nn.Conv2d(width, hidden, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(hidden, width, 3, padding=1),
                    nn.ReLU(inplace=True),
                    nn.Conv2d(width, width, 3, padding=1),
                    nn.ReLU(inplace=True),
                )
                for n in in_channels
            }
        )
        self.heads = nn.ModuleDict({n: nn.Conv2d(width, c, 1) for n, c in out_channels.items()})
        self.step_embedding = StepEmbedding(width)
        use_fast_linear(self.blocks)

    def parts_of(self, task: str) -> list[nn.Module]:
        """The modules that work for one task alone."""
        return [self.encoders[task], self.refiners[task], self.heads[task]]

    def _tokens(self, x: Tensor) -> Tensor:
        """(P, width, h, w) → (P, N, width), row by row of the coarse grid."""
        return on_grid(x, self._token_grid(x)).flatten(2).transpose(1, 2)

    def _token_grid(self, x: Tensor) -> list[int]:
        return [max(n // self.token_scale, 1) for n in x.shape[-2:]]

    def prepare(self, condition: Tensor) -> Condition:
        """Conditioning map (B, width, h, w) → tokens and the first block's queries."""
        tokens = self._tokens(condition)
        return Condition(tokens, self.blocks[0].queries(tokens))

    def forward(self, states: Mapping[str, Tensor], condition: Condition | None, step: int) -> dict[str, Tensor]:
        """One step.

        Args:
            states: ``{task: (n, C, h, w)}``, the tasks in the order of the rows of ``condition``.
            condition: Tokens of every row, P = the sum of n; None where the denoiser is not conditioned.
            step: t.

        Returns:
            ``{task: (n, width, h, w)}``, not negative: the clean feature maps.
        """
        counts = [x.shape[0] for x in states.values()]
        encoded = [self.encoders[name](x) for name, x in states.items()]  # (n, D, h, w) per task
        shift = self.step_embedding(step, encoded[0]).to(encoded[0].dtype)  # (1, D, 1, 1)
        encoded = [x + shift for x in encoded]
        k = torch.cat([self._tokens(x) for x in encoded])  # (P, N, D)
        q, queries = (condition.tokens, condition.queries) if condition is not None else (k, None)
        for block in self.blocks:
            q, k = recomputed(block, q, k, queries) if self.recompute else block(q, k, queries)
            queries = None
        grid = encoded[0].shape[-2:]
        coarse = q.transpose(1, 2).unflatten(2, self._token_grid(encoded[0]))  # (P, D, h / 4, w / 4)
        clean = {}
        for name, rows in zip(states, coarse.split(counts)):  # one task's large maps at a time
            mixed = on_grid(rows, grid) + encoded.pop(0)  # (n, D, h, w)
            clean[name] = self.refiners[name](mixed)
        return clean
