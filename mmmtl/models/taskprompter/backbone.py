"""A ViT whose blocks see one prompt per task (TaskPrompter, section 3.2).

====================  ==================================================================
name here             in the paper
====================  ==================================================================
``prompts``           spatial-channel task prompts P
spatial scores        R^spa: each prompt's affinity to every patch, before scaling
channel scores        R^chan: each prompt's affinity to every channel of every window
``to_positions``      the map from a prompt's D channels to the N patch positions
``from_positions``    and back
====================  ==================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.backbones import TimmBackbone
from mmmtl.ops.precision import to_float32, without_autocast
from mmmtl.registry import MODELS


@MODELS.register_module()
class PromptedViT(TimmBackbone):
    """Plain ViT with one prompt per task.

    Gives, for S tasks, D channels, A heads and L levels on a grid (h, w): L maps (B, D, h, w), then L spatial scores
    (B, A·S, h, w), L channel scores (B, D·S, windows, windows) and L task scores (B, A·S·S, 1, 1), all scores raw.

    Args:
        model_name, img_size, out_indices and others: See :class:`~mmmtl.models.backbones.TimmBackbone`. The image size is
            fixed: linear layers run over the patch positions.
        tasks: Names (or configs by name) of the tasks, in the decoder's order.
        windows: The channel scores are taken in windows x windows parts of the grid.

    Raises:
        ConfigError: A model that is no plain ViT, or a grid that the windows do not divide.
    """

    def __init__(
        self,
        model_name: str,
        img_size: Sequence[int],
        tasks: Mapping[str, Any] | Sequence[str],
        windows: int = 1,
        out_indices: Sequence[int] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(model_name, img_size=img_size, out_indices=out_indices, **kwargs)
        if not self.plain_vit:
            raise ConfigError(f"PromptedViT needs a plain ViT, '{model_name}' is none")
        first = self.body.blocks[0]
        more = [
            name for name in ('norm', 'gate') if not isinstance(getattr(first.attn, name, None), nn.Identity | None)
        ]
        if type(first).__name__ != 'Block' or more:
            raise ConfigError(
                f"PromptedViT needs a ViT of ordinary blocks, those of '{model_name}' are {type(first).__name__} {more or ''}"
            )
        self.grid = tuple(self.body.patch_embed.grid_size)
        if self.grid[0] % windows or self.grid[1] % windows:
            raise ConfigError(f'windows={windows} must divide the patch grid, which is {self.grid[0]}x{self.grid[1]}')
        patch_size = self.body.patch_embed.patch_size
        self.fixed_size = (self.grid[0] * patch_size[0], self.grid[1] * patch_size[1])
        self.windows, self.num_tasks, self.task_names = windows, len(tasks), list(tasks)
        width, positions, depth = self.body.embed_dim, self.grid[0] * self.grid[1], len(self.body.blocks)
        levels, heads = len(self.out_indices), self.body.blocks[0].attn.num_heads
        self.prompts = nn.Parameter(torch.empty(self.num_tasks, width))
        nn.init.trunc_normal_(self.prompts, mean=1.0, std=1.0)
        self.to_positions = nn.ModuleList(nn.Linear(width, positions) for _ in range(depth))
        self.from_positions = nn.ModuleList(nn.Linear(positions, width) for _ in range(depth))
        self.from_positions[-1].requires_grad_(False)  # the last block's prompts are read by nobody
        for layer in (*self.to_positions, *self.from_positions):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            nn.init.zeros_(layer.bias)
        patch = self.strides[0]
        scores = [heads * self.num_tasks, width * self.num_tasks, heads * self.num_tasks**2]
        self.out_channels = self.out_channels + [c for c in scores for _ in range(levels)]
        self.strides = self.strides + [s for s in (patch, img_size[0] // windows, img_size[0]) for _ in range(levels)]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), normalised → maps and scores; see the class.

        Raises:
            ConfigError: An image of another size.
        """
        body, patch = self.body, self.body.patch_embed.patch_size
        grid = (x.shape[-2] / patch[0], x.shape[-1] / patch[1])
        if grid != self.grid:
            raise ConfigError(
                f'PromptedViT takes images of {self.grid[0] * patch[0]}x{self.grid[1] * patch[1]}, got '
                f'{x.shape[-2]}x{x.shape[-1]}'
            )
        tokens = body.patch_embed.proj(x).flatten(2).transpose(1, 2).contiguous()
        tokens = body.norm_pre(body.pos_drop(body.patch_embed.norm(tokens) + body.pos_embed))  # (B, N, D)
        prompts = self.prompts.expand(x.shape[0], -1, -1)  # (B, S, D)
        maps, spatial, channel, task = [], [], [], []
        for i, block in enumerate(body.blocks):
            tokens, prompts, scores = self._block(i, block, tokens, prompts)
            if scores is not None:
                level = body.norm(tokens) if i == len(body.blocks) - 1 else tokens
                maps.append(level.transpose(1, 2).unflatten(2, self.grid))
                spatial.append(scores[0].flatten(1, 2).unflatten(2, self.grid))
                channel.append(scores[1])
                task.append(scores[2].flatten(1)[..., None, None])
        return (*maps, *spatial, *channel, *task)

    def _block(
        self, index: int, block: Any, tokens: Tensor, prompts: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor] | None]:
        """Patches (B, N, D) and prompts (B, S, D) through one block; at a level also its raw scores."""
        tasks, attn = self.num_tasks, block.attn
        x, c0 = block.norm1(tokens), block.norm1(prompts)
        z = torch.cat([c0, x], 1)
        q, k, v = attn.qkv(z).unflatten(-1, (3, attn.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = attn.q_norm(q), attn.k_norm(k)
        dropout = attn.attn_drop.p if self.training else 0.0
        mixed = F.scaled_dot_product_attention(q, k, v, dropout_p=dropout).transpose(1, 2).flatten(2)
        out = block.ls1(attn.proj_drop(attn.proj(mixed)))
        positions = self.to_positions[index](c0)  # (B, S, N)
        scores = None
        if index in self.out_indices:
            with without_autocast(q):  # raw scores are too large for half precision
                raw = to_float32(q[:, :, :tasks]) @ to_float32(k).transpose(-2, -1)  # (B, A, S, S + N)
                channel = self._channel_scores(to_float32(positions), to_float32(x))
            scores = (raw[..., tasks:], channel, raw[..., :tasks])
        new_prompts = out[:, :tasks] + self.from_positions[index](positions)
        tokens = tokens + block.drop_path1(out[:, tasks:])
        tokens = tokens + block.drop_path2(block.ls2(block.mlp(block.norm2(tokens))))
        prompts = prompts + block.drop_path1(new_prompts)
        prompts = prompts + block.drop_path2(block.ls2(block.mlp(block.norm2(prompts))))
        return tokens, prompts, scores

    def _channel_scores(self, positions: Tensor, x: Tensor) -> Tensor:
        """Prompts on the grid (B, S, N) and patches (B, N, D) → (B, D·S, windows, windows)."""
        n, (h, w) = self.windows, self.grid
        parts = (n, h // n, n, w // n)
        scores = torch.einsum(
            'btiujv,biujvd->bdtij', positions.unflatten(2, parts), x.unflatten(1, parts)
        )  # windows (i, j), cells (u, v) of a window
        return scores.flatten(1, 2)
