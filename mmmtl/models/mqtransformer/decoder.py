"""MQTransformer (Xu et al., "Multi-Task Learning with Multi-Query Transformer for Dense Prediction", 2022).

====================  =====================================================================================
name here             in the paper
====================  =====================================================================================
``query``             task queries, with position codes ``query_code`` and ``key_code``
``encode_*``          shared encoder: a task's queries read the task's map (section III-C)
``cross_*``           cross-task query attention (section III-D)
``decode_*``          shared decoder: every pixel reads its task's queries (section III-E)
====================  =====================================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from timm.layers import DropPath
from torch import Tensor, nn

from mmmtl.models.layers.conv_block import concat_levels
from mmmtl.models.layers.pixel_attention import PixelTokenDecoder, attend_batch
from mmmtl.ops.take_rows import repeat_rows
from mmmtl.registry import MODELS

from .attention import CodedAttention, CrossTaskAttention, NormedMLP


@MODELS.register_module()
class MQTransformerDecoder(PixelTokenDecoder):
    """Queries of every task read its map, attend to the queries of all tasks, and are read back by the map.

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. Levels are enlarged to the first one.
        width: C of maps and queries.
        num_queries: N, queries per task.
        num_heads: Heads of all attentions.
        drop_path: Share of samples whose branch is dropped in encoder and decoder.
        token_drop: Share of queries (of all images at once) that the cross-task branches drop.
        dropout: Of the cross-task attention's weights.
        mix_batch: See :class:`~mmmtl.models.layers.pixel_attention.PixelTokenDecoder`; of the shared decoder's last attention.

    Raises:
        ConfigError: A width that the heads do not divide.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        width: int = 256,
        num_queries: int = 64,
        num_heads: int = 4,
        drop_path: float = 0.1,
        token_drop: float = 0.5,
        dropout: float = 0.1,
        mix_batch: bool = False,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, width, num_heads, mix_batch, init_cfg)
        names, count = list(self.tasks), len(self.tasks)
        self.reduce = nn.ModuleDict({n: nn.Linear(sum(self.in_channels), width) for n in names})
        self.query = nn.Parameter(torch.empty(count, num_queries, width))
        self.query_code = nn.Parameter(torch.empty(count, num_queries, width // num_heads))
        self.key_code = nn.Parameter(torch.empty(count, num_queries, width // num_heads))
        self.encode_attention = CodedAttention(width, num_heads)
        self.encode_norm, self.encode_linear = nn.LayerNorm(width), nn.Linear(width, width, bias=False)
        self.encode_mlp = NormedMLP(width, 1)
        self.cross_attention = CrossTaskAttention(width, num_heads, dropout)
        self.cross_norm, self.cross_mlp = nn.LayerNorm(width), NormedMLP(width, 1)
        self.decode_attention = CodedAttention(width, num_heads)
        self.decode_mlp1, self.decode_mlp2 = NormedMLP(width, 3), NormedMLP(width, 3)
        self.decode_self = nn.MultiheadAttention(width, num_heads)
        self.sample_drop, self.token_drop = DropPath(drop_path), DropPath(token_drop)
        self.add_heads(width, width // 4)
        for parameter in (self.query, self.query_code, self.key_code):
            nn.init.trunc_normal_(parameter, std=0.02)

    def forward(self, feats: Sequence[Tensor]) -> dict[str, Tensor]:
        """Levels → raw maps (B, C_t, h, w) on the first level's grid."""
        grid = feats[0].shape[-2:]
        pixels = concat_levels(feats, grid).flatten(2).transpose(1, 2)
        x = torch.stack([layer(pixels) for layer in self.reduce.values()])  # (S, B, P, C)
        y = self.decode(x, self.exchange(self.encode(x)))
        return self.read_tokens(F.gelu(y), grid)

    def encode(self, x: Tensor) -> Tensor:
        """Maps as tokens (S, B, P, C) → queries (S, B, N, C). All tasks share the weights, so they are one batch."""
        tasks, batch = x.shape[:2]
        flat = x.flatten(0, 1)
        query, code = (repeat_rows(p, batch) for p in (self.query, self.query_code))
        query = query + self.sample_drop(self.encode_attention(query, flat, flat, q_code=code))
        query = query + self.encode_linear(self.encode_norm(query))
        query = query + self.sample_drop(self.encode_mlp(query))
        return query.unflatten(0, (tasks, batch))

    def exchange(self, query: Tensor) -> Tensor:
        """Queries (S, B, N, C) of all tasks attend to each other."""
        tasks, batch, count, _ = query.shape
        query = query.transpose(0, 1).flatten(1, 2)  # (B, S·N, C)
        query = query + self._drop_tokens(self.cross_attention(query))
        query = query + self._drop_tokens(self.cross_mlp(self.cross_norm(query)))
        return query.unflatten(1, (tasks, count)).transpose(0, 1)

    def _drop_tokens(self, x: Tensor) -> Tensor:
        """Drop path along the queries, jointly for all images."""
        return self.token_drop(x.transpose(0, 1)).transpose(0, 1)

    def decode(self, x: Tensor, query: Tensor) -> Tensor:
        """Maps as tokens (S, B, P, C) and queries (S, B, N, C) → (S, B, P, C)."""
        tasks, batch = x.shape[:2]
        flat, query = x.flatten(0, 1), query.flatten(0, 1)
        code = repeat_rows(self.key_code, batch)
        out = flat + self.sample_drop(self.decode_attention(flat, query, query, k_code=code))
        out = out + self.sample_drop(self.decode_mlp1(out))
        read = torch.cat([attend_batch(self.decode_self, o, self.mix_batch) for o in out.unflatten(0, (tasks, batch))])
        out = flat + self.sample_drop(read)  # the residual starts from the map again, as published
        out = out + self.sample_drop(self.decode_mlp2(out))
        return out.unflatten(0, (tasks, batch))
