"""The cross-task denoiser: from the noisy map and the conditions to one map per task (TaskDiffusion, section 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.layers.film import ConvBlock, FilmNorm
from mmmtl.ops.convolution import Conv1x1, conv1x1_conv3x3, conv1x1_of_concat, conv3x3
from mmmtl.ops.mixing import Maps, mix_maps, mixable, weighted_sum
from mmmtl.registry import MODELS

from .interactions import ConcatInteraction, CrossAttentionInteraction, SharedInteraction


class TaskRelation(nn.Module):
    """Task-relation map of a level: two convolutional blocks, a convolution to S² channels, sigmoid.

    The norm and the modulation between convolution and sigmoid are the published code's, not the paper's.
    """

    def __init__(self, tasks: Sequence[str], width: int) -> None:
        super().__init__()
        self.num_tasks = len(tasks)
        self.blocks = nn.ModuleList(ConvBlock(width, width) for _ in range(2))
        self.conv = conv3x3(width, self.num_tasks**2)
        self.norm = FilmNorm(self.num_tasks**2, width, act=False)

    def forward(self, entry: Tensor, time: Tensor) -> Tensor:
        """Shared map of [X^l, z_t] (B, E, h, w) → A_i (B, S, S, h, w) in (0, 1): target, source."""
        *first, last = self.blocks
        for block in first:
            entry = block(entry, time)  # (B, E, h, w)
        x = conv1x1_conv3x3(last.hidden(entry, time), last.conv1, self.conv)  # (B, S², h, w)
        return self.norm(x, time).sigmoid().unflatten(1, (self.num_tasks, self.num_tasks))


class MaskInteraction(nn.Module):
    """Task interaction of a level, ``U_i^s = Σ_p A_i^{s,p} · F_i^p``."""

    def __init__(self, tasks: Sequence[str], width: int) -> None:
        super().__init__()
        self.relation = TaskRelation(tasks, width)

    def forward(self, entry: Tensor, conditions: Maps, time: Tensor) -> Maps:
        """Shared map (B, E, h, w) and a condition per task (B, E, h, w) → U_i^s per task (B, E, h, w)."""
        return mix_maps(self.relation(entry, time), conditions)


INTERACTIONS: dict[str, type[nn.Module]] = {
    'mask': MaskInteraction,
    'cross_attention': CrossAttentionInteraction,
    'concat': ConcatInteraction,
    'shared': SharedInteraction,
}


class PostInteraction(nn.Module):
    """conv1x1 → BN → FiLM of one task's map in one level, after the interaction; in the published code alone."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = Conv1x1(width, width)
        self.norm = FilmNorm(width, width, act=False)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, E, h, w) → the same shape."""
        return self.norm.after_conv1x1(self.conv1, x, time)


class LevelInteraction(nn.Module):
    """Level interaction of one task, ``F'_s = Σ_i M_i^s · U_i^s``; M^s from conv1x1 → BN → FiLM → GELU → conv3x3.

    Args:
        width: Channels E of a level.
        levels: Number L of levels.
        act: ``softmax`` over levels (published code) or ``sigmoid`` (paper).
    """

    def __init__(self, width: int, levels: int, act: str) -> None:
        super().__init__()
        self.conv1 = Conv1x1(levels * width, width)
        self.norm = FilmNorm(width, width)
        self.conv3 = conv3x3(width, levels)
        self.act = act

    def forward(self, mixed: Sequence[Tensor], time: Tensor) -> Tensor:
        """U_i^s of the levels, each (B, E, h, w) → F'_s (B, E, h, w)."""
        x = conv1x1_of_concat(mixed, self.conv1.weight, self.conv1.bias)  # (B, E, h, w)
        mask = self.conv3(self.norm(x, time))  # (B, L, h, w)
        return weighted_sum(mixed, mask.softmax(1) if self.act == 'softmax' else mask.sigmoid())


@dataclass
class StepCache:
    """What is computed once per image (or batch) and serves every denoising step.

    Attributes:
        image: Per level, the image's part of the convolution over [X^l, z_t], (B, E, h, w).
        conditions: Per level, F_i^s (B, E, h, w) of every task.
    """

    image: list[Tensor]
    conditions: list[Maps]


@MODELS.register_module()
class CrossTaskDenoiser(BaseModule):
    """Task interaction in every level, then level interaction.

    A denoiser of your own has the constructor's first four arguments, :meth:`encode`, :meth:`forward`, and says by
    ``uses_conditions`` whether it wants task-specific conditions.

    Args:
        tasks: Task names; their order is that of the relation maps.
        levels: Number L of levels.
        width: Channels E of the levels and of the time embedding.
        noisy_channels: Channels of the noisy cross-task map.
        interaction: ``mask`` (the method), or the paper's Table 4: ``cross_attention`` or ``concat``; or ``shared``: no
            relation map, every task gets what the levels' shared blocks make of image and noisy map. Default: ``mask``;
            with a single task, which has no relations (A.6), ``shared``.
        level_interaction: False: the mean of the levels (Table 4).
        level_act: ``softmax`` over levels (published code) or ``sigmoid`` (paper).
        post_interact: 1x1 convolution with FiLM per level and task after the interaction (published code only).

    Raises:
        ConfigError: A switch with an unknown value.
    """

    uses_conditions = True

    def __init__(
        self,
        tasks: Sequence[str],
        levels: int,
        width: int,
        noisy_channels: int,
        interaction: str | None = None,
        level_interaction: bool = True,
        level_act: str = 'softmax',
        post_interact: bool = True,
    ) -> None:
        super().__init__()
        interaction = interaction or ('mask' if len(tasks) > 1 else 'shared')
        for name, value, known in (
            ('interaction', interaction, list(INTERACTIONS)),
            ('level_act', level_act, ['softmax', 'sigmoid']),
        ):
            if value not in known:
                raise ConfigError(
                    f"CrossTaskDenoiser: {name} must be one of {known}, got '{value}'.{suggest(value, known)}"
                )
        self.tasks = list(tasks)
        self.image = nn.ModuleList(Conv1x1(width, width) for _ in range(levels))
        self.noisy = nn.ModuleList(Conv1x1(noisy_channels, width, bias=False) for _ in range(levels))
        self.task_interaction = nn.ModuleList(INTERACTIONS[interaction](tasks, width) for _ in range(levels))
        self.post_interaction = self.level_interaction = None
        if post_interact:
            self.post_interaction = nn.ModuleList(
                nn.ModuleDict({n: PostInteraction(width) for n in tasks}) for _ in range(levels)
            )
        if level_interaction:
            self.level_interaction = nn.ModuleDict({n: LevelInteraction(width, levels, level_act) for n in tasks})

    def encode(self, levels: Sequence[Tensor], conditions: Sequence[Sequence[Tensor]]) -> StepCache:
        """X^l (B, E, h, w), and per level F_i^s (B, E, h, w) of every task → what all steps share."""
        return StepCache([conv(x) for conv, x in zip(self.image, levels)], [mixable(maps) for maps in conditions])

    def forward(self, z: Tensor, cache: StepCache, time: Tensor) -> list[Tensor]:
        """One pass.

        Args:
            z: Noisy cross-task map z_t (B, z, h, w).
            cache: See :meth:`encode`.
            time: Embedding of the present time (1 or B, E).

        Returns:
            F'_s (B, E, h, w) of every task.
        """
        levels = [self.interact(level, z, cache, time) for level in range(len(cache.image))]
        fused = []
        for s, name in enumerate(self.tasks):
            mixed = [level[s] for level in levels]  # U_i^s, each (B, E, h, w)
            if self.level_interaction is None:
                fused.append(torch.stack(mixed).mean(0))
            else:
                fused.append(self.level_interaction[name](mixed, time))
        return fused

    def interact(self, level: int, z: Tensor, cache: StepCache, time: Tensor) -> Maps:
        """U_i^s (B, E, h, w) of every task in one level."""
        image = cache.image[level]
        entry = image + self.noisy[level](z.to(image.dtype))  # one convolution of [X^l, z_t], (B, E, h, w)
        mixed = self.task_interaction[level](entry, cache.conditions[level], time)
        if self.post_interaction is None:
            return mixed
        return [post(u, time) for post, u in zip(self.post_interaction[level].values(), mixed)]
