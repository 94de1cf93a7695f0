"""The cross-task denoiser of TaskDiffusion: from the noisy map and the conditions to one map per task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.layers.film import FilmNorm, FilmRows
from mmmtl.ops.attention import CrossAttention
from mmmtl.ops.convolution import conv1x1, merge_pointwise

INTERACTIONS = ('mask', 'cross_attention', 'concat', 'task_specific')


TaskMaps = Union[Tensor, Sequence[Tensor]]
"""A map (B, E, h, w) per task; on a GPU one tensor (S, B, E, h, w)."""


def mix_tasks(relation: Tensor, conditions: TaskMaps) -> TaskMaps:
    """``U[s] = Σ_p relation[:, s, p] · conditions[p]``.

    Args:
        relation: (B, S, S, h, w): target, source.
        conditions: A map (B, E, h, w) per task.

    Returns:
        A map per task.
    """
    if isinstance(conditions, Tensor):
        return torch.einsum('bsphw,pbehw->sbehw', relation, conditions)
    # a CPU has no fast kernel for a batch of tiny matrix products; the sum over sources, written out, runs at memory speed
    weights = relation.permute(1, 2, 0, 3, 4)[:, :, :, None]
    mixed = []
    for row in weights:
        total = row[0] * conditions[0]
        for weight, source in zip(row[1:], conditions[1:]):
            total = torch.addcmul(total, weight, source) if torch.is_grad_enabled() else total.addcmul_(weight, source)
        mixed.append(total)
    return mixed


class TimedBlock(nn.Module):
    """conv3x3 → BN → FiLM → GELU → conv1x1."""

    def __init__(self, width: int, conv3: type[nn.Conv2d] = nn.Conv2d) -> None:
        super().__init__()
        self.conv3 = nn.Conv2d(width, width, 3, padding=1) if conv3 is nn.Conv2d else conv3(width, width)
        self.norm = FilmNorm(width, width)
        self.conv1 = nn.Conv2d(width, width, 1)

    def hidden(self, x: Tensor, rows: FilmRows) -> Tensor:
        """Everything but the last convolution."""
        return self.norm(self.conv3(x), rows)

    def forward(self, x: Tensor, rows: FilmRows) -> Tensor:
        return conv1x1(self.hidden(x, rows), self.conv1.weight, self.conv1.bias)


class _SharedBranch(nn.Module):
    """Task-shared part of a level: two timed blocks and, for the mask interaction, the task-relation head."""

    def __init__(self, width: int, num_tasks: int, with_relation: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(TimedBlock(width) for _ in range(2))
        if with_relation:
            self.relation = nn.Conv2d(width, num_tasks**2, 3, padding=1)
            self.relation_norm = FilmNorm(num_tasks**2, width, act=False)

    def prepare(self, like: Tensor) -> tuple[Tensor, Tensor]:
        """Kernel of the last 1x1 merged with the relation head, and what its bias adds at every position."""
        head, last = self.relation, self.blocks[-1].conv1
        inner = torch.einsum('omkl,m->okl', head.weight, last.bias)[:, None]
        field = F.conv2d(inner.new_ones(1, 1, *like.shape[-2:]), inner, head.bias, padding=1)
        return merge_pointwise(head.weight, last.weight), field

    def relate(self, x: Tensor, prepared: tuple[Tensor, Tensor], rows: FilmRows) -> Tensor:
        """Entry map (B, E, h, w) → task relation (B, S, S, h, w) in (0, 1)."""
        kernel, field = prepared
        x = self.blocks[1].hidden(self.blocks[0](x, rows), rows)
        x = self.relation_norm(F.conv2d(x, kernel, padding=1) + field, rows).sigmoid()
        side = round(x.shape[1] ** 0.5)
        return x.reshape(len(x), side, side, *x.shape[-2:])


class _LevelMask(nn.Module):
    """conv1x1 (all levels) → BN → FiLM → GELU → conv3x3 to one weight per level."""

    def __init__(self, width: int, levels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(levels * width, width, 1)
        self.norm = FilmNorm(width, width)
        self.conv3 = nn.Conv2d(width, levels, 3, padding=1)

    def forward(self, maps: Sequence[Tensor], rows: FilmRows) -> Tensor:
        # the sum over levels, written out, instead of a copy of all levels side by side
        first, *others = self.conv1.weight.flatten(1).chunk(len(maps), 1)
        x = conv1x1(maps[0], first, self.conv1.bias)
        for level, weight in zip(maps[1:], others):
            x = x + conv1x1(level, weight) if torch.is_grad_enabled() else x.add_(conv1x1(level, weight))
        return self.conv3(self.norm(x, rows))


class _Specific(nn.Module):
    """conv1x1 → BN → FiLM of one task's map in one level; only in the published code, not in the paper."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1)
        self.norm = FilmNorm(width, width, act=False)

    def forward(self, x: Tensor, rows: FilmRows) -> Tensor:
        if self.norm.norm.training or rows[self.norm.position][0].shape[0] > 1:
            return self.norm(conv1x1(x, self.conv1.weight, self.conv1.bias), rows)
        gain, offset = (row[0] for row in rows[self.norm.position])
        weight = self.conv1.weight * gain[:, None, None, None]
        return conv1x1(x, weight, torch.addcmul(offset, self.conv1.bias, gain))


@dataclass
class Prepared:
    """What one image (or batch) gives to every denoising step.

    Attributes:
        image: Per level, the image half of the entry convolution (B, E, h, w), where the tasks share it.
        noisy: Weight (L·E, z, 1, 1) of the noisy half, all levels.
        relation: Per level, see ``_SharedBranch.prepare``.
    """

    image: list[Tensor]
    noisy: Tensor
    relation: list[tuple[Tensor, Tensor]]


class CrossTaskDenoiser(BaseModule):
    """Task interaction in every level, then level interaction (TaskDiffusion, section 3.2).

    Args:
        tasks: Task names; their order is that of the relation maps.
        levels: Number L of levels.
        width: Channels E of the levels.
        noisy_channels: Channels of the noisy map.
        interaction: ``mask`` (the method), or the paper's Table 4: ``cross_attention`` (queries from the shared branch,
            keys and values from the conditions), ``concat`` (of both, then 1x1); ``task_specific`` (Table 3): every task
            has its own two timed blocks on its condition and the noisy map.
        level_interaction: False: the mean of the levels (Table 4).
        level_act: ``softmax`` over levels (published code) or ``sigmoid`` (paper).
        post_interact: 1x1 convolution with FiLM per level and task after the interaction (published code only).
    """

    def __init__(
        self,
        tasks: Sequence[str],
        levels: int,
        width: int,
        noisy_channels: int,
        interaction: str = 'mask',
        level_interaction: bool = True,
        level_act: str = 'softmax',
        post_interact: bool = True,
    ) -> None:
        super().__init__()
        if interaction not in INTERACTIONS:
            raise ConfigError(
                f"interaction must be one of {INTERACTIONS}, got '{interaction}'.{suggest(interaction, INTERACTIONS)}"
            )
        if level_act not in ('softmax', 'sigmoid'):
            raise ConfigError(f"level_act must be 'softmax' or 'sigmoid', got '{level_act}'")
        self.interaction, self.level_act, self.num_tasks = interaction, level_act, len(tasks)
        self.image = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in range(levels))
        self.noisy = nn.ModuleList(nn.Conv2d(noisy_channels, width, 1, bias=False) for _ in range(levels))
        if interaction != 'task_specific':
            self.shared = nn.ModuleList(_SharedBranch(width, len(tasks), interaction == 'mask') for _ in range(levels))
        if interaction == 'cross_attention':
            heads = next(n for n in (8, 4, 2, 1) if width % n == 0)
            self.attention = nn.ModuleList(CrossAttention(width, heads=heads) for _ in range(levels))
        if interaction == 'task_specific':
            self.own = nn.ModuleList(
                nn.ModuleDict({n: nn.ModuleList(TimedBlock(width) for _ in range(2)) for n in tasks})
                for _ in range(levels)
            )
        if interaction == 'concat':
            self.joint = nn.ModuleList(
                nn.ModuleDict({n: nn.Conv2d(2 * width, width, 1) for n in tasks}) for _ in range(levels)
            )
        self.specific = None
        if post_interact:
            self.specific = nn.ModuleList(nn.ModuleDict({n: _Specific(width) for n in tasks}) for _ in range(levels))
        self.level_mask = nn.ModuleDict({n: _LevelMask(width, levels) for n in tasks}) if level_interaction else None

    def prepare(self, levels: Sequence[Tensor]) -> Prepared:
        """Everything that does not depend on the noisy map; levels (B, E, h, w)."""
        image = []
        if self.interaction != 'task_specific':
            image = [conv1x1(x, conv.weight, conv.bias) for x, conv in zip(levels, self.image)]
        noisy = torch.cat([conv.weight for conv in self.noisy])
        relation = [s.prepare(x) for s, x in zip(self.shared, levels)] if self.interaction == 'mask' else []
        return Prepared(image, noisy, relation)

    def interact(
        self, level: int, noisy: Tensor, prepared: Prepared, conditions: TaskMaps, rows: FilmRows, trace: list | None
    ) -> TaskMaps:
        """Conditions of one level after the exchange between tasks."""
        if self.interaction == 'task_specific':
            image = self.image[level]
            starts = [conv1x1(c, image.weight, image.bias) + noisy for c in conditions]
            return [second(first(x, rows), rows) for x, (first, second) in zip(starts, self.own[level].values())]
        shared, entry = self.shared[level], prepared.image[level] + noisy
        if self.interaction == 'mask':
            relation = shared.relate(entry, prepared.relation[level], rows)
            if trace is not None:
                trace.append(relation)
            return mix_tasks(relation.to(conditions[0].dtype), conditions)
        cross = shared.blocks[1](shared.blocks[0](entry, rows), rows)
        if self.interaction == 'concat':
            joint = self.joint[level].values()
            return [conv(torch.cat([c, cross], 1)) for conv, c in zip(joint, conditions)]
        query = cross.flatten(2).transpose(1, 2)
        attended = [self.attention[level](query, c.flatten(2).transpose(1, 2)) for c in conditions]
        return [c + a.transpose(1, 2).reshape(cross.shape) for c, a in zip(conditions, attended)]

    def forward(
        self, z: Tensor, prepared: Prepared, conditions: Sequence[TaskMaps], rows: FilmRows, trace: list | None = None
    ) -> list[Tensor]:
        """One pass.

        Args:
            z: Noisy map (B, z, h, w), channels-last.
            prepared: See :meth:`prepare`.
            conditions: Per level, a map (B, E, h, w) per task.
            rows: Modulations at the present time.
            trace: Takes the relation map (B, S, S, h, w) of every level.

        Returns:
            Per task (B, E, h, w).
        """
        entries = conv1x1(z, prepared.noisy).chunk(len(conditions), 1)
        fused: list[list[Tensor]] = [[] for _ in range(self.num_tasks)]
        for level, noisy in enumerate(entries):
            mixed = self.interact(level, noisy, prepared, conditions[level], rows, trace)
            heads = self.specific[level].values() if self.specific is not None else [None] * self.num_tasks
            for task, (head, x) in enumerate(zip(heads, mixed)):
                fused[task].append(x if head is None else head(x, rows))
        if self.level_mask is None:
            return [torch.stack(maps).mean(0) for maps in fused]
        return [self._weigh(maps, mask, rows) for maps, mask in zip(fused, self.level_mask.values())]

    def _weigh(self, maps: list[Tensor], mask: nn.Module, rows: FilmRows) -> Tensor:
        weights = mask(maps, rows)
        weights = weights.softmax(1) if self.level_act == 'softmax' else weights.sigmoid()
        total = maps[0] * weights[:, :1]
        for level, x in enumerate(maps[1:], 1):
            total = torch.addcmul(total, x, weights[:, level : level + 1])
        return total
