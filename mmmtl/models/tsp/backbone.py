"""A ViT that is run once per task, with the task's prompt tokens in some of its blocks (TSP-Transformer, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.backbones import TimmBackbone
from mmmtl.ops.take_rows import repeat_rows
from mmmtl.registry import MODELS


@MODELS.register_module()
class TaskPromptViT(TimmBackbone):
    """Plain ViT with a class token and, in some blocks, prompt tokens of the task that it is run for.

    Before a prompted block the task's tokens for that block are put behind the patches; after it they are cut off.
    Gives, for S tasks and L levels, L·S maps (B, D, h, w): level 0 of all tasks, level 1 of all tasks, and so on.

    Args:
        model_name and others: See :class:`~mmmtl.models.backbones.TimmBackbone`.
        tasks: Names (or configs by name) of the tasks, in the decoder's order.
        prompt_length: Prompt tokens of a block.
        prompt_layers: Number of prompted blocks.
        prompted: ``deep`` for the last blocks (published for NYUDv2), ``shallow`` for the first (PASCAL-Context).
        share_trunk: Run the blocks before the first prompted one once for all tasks: ``eval``, ``always`` or ``never``.
            Equal but for drop path, which published training draws anew for every task.

    Raises:
        ConfigError: A model that is no plain ViT, more prompted blocks than there are, an unknown switch.
    """

    def __init__(
        self,
        model_name: str,
        tasks: Mapping[str, Any] | Sequence[str],
        prompt_length: int = 5,
        prompt_layers: int = 12,
        prompted: str = 'deep',
        share_trunk: str = 'eval',
        **kwargs: Any,
    ) -> None:
        super().__init__(model_name, class_token=True, **kwargs)
        if not self.plain_vit:
            raise ConfigError(f"TaskPromptViT needs a plain ViT, '{model_name}' is none")
        depth = len(self.body.blocks)
        if prompted not in ('deep', 'shallow') or share_trunk not in ('eval', 'always', 'never'):
            raise ConfigError(
                f"TaskPromptViT: prompted must be 'deep' or 'shallow' and share_trunk 'eval', 'always' or 'never', got "
                f"'{prompted}' and '{share_trunk}'"
            )
        if prompt_layers > depth:
            raise ConfigError(f'TaskPromptViT: prompt_layers={prompt_layers}, but {model_name} has {depth} blocks')
        self.first = depth - prompt_layers if prompted == 'deep' else 0
        self.share_trunk = share_trunk
        self.prompts = nn.ParameterDict(
            {name: nn.Parameter(torch.zeros(prompt_layers, prompt_length, self.body.embed_dim)) for name in tasks}
        )
        self.task_names = list(tasks)  # a ParameterDict sorts its keys
        self.out_channels = [c for c in self.out_channels for _ in tasks]
        self.strides = [s for s in self.strides for _ in tasks]

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Images (B, 3, H, W), normalised → maps (B, D, h, w), task by task within a level."""
        tokens, grid = self.embed(x)
        prompts = torch.stack([self.prompts[name] for name in self.task_names])  # (S, layers, length, D)
        tasks, layers, length, _ = prompts.shape
        levels: list[Tensor] = []
        shares = self.share_trunk == 'always' or (self.share_trunk == 'eval' and not self.training)
        split = not shares
        if split:
            tokens = tokens.repeat(tasks, 1, 1)
        for i, block in enumerate(self.body.blocks):
            if self.first <= i < self.first + layers:
                if not split:
                    tokens, split = tokens.repeat(tasks, 1, 1), True  # (S·B, 1 + N, D)
                own = repeat_rows(prompts[:, i - self.first], x.shape[0])
                tokens = block(torch.cat([tokens, own], 1))[:, :-length]
            else:
                tokens = block(tokens)
            if i in self.out_indices:
                level = self.body.norm(tokens) if i == len(self.body.blocks) - 1 else tokens
                level = level[:, 1:].transpose(1, 2).unflatten(2, grid)
                levels += level.unflatten(0, (tasks, -1)).unbind(0) if split else [level] * tasks
        return tuple(levels)
