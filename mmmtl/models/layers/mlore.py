"""MLoRE (Yang et al., CVPR 2024, section 3.2): a mixture of low-rank experts shared by the tasks.

The blocks of MLoRE itself, and the conditions of TaskDiffusion's MLoRE variant. Per block and task::

    o   = enter(x)
    out = expert_norm(Σ_e gate_e · up_e(down_e(o))) + mix · own(o) + shared(stop_gradient(o))
    y   = leave(GELU(norm(out)))

with gates from a router that sees o. In training all experts run, as one convolution for all of them and all tasks; in
evaluation the gated experts, the task's own low-rank convolution, the shared convolution and the normalisation of the
experts collapse into one 3x3 kernel per sample where that is cheaper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.errors import ConfigError, InputError
from mmmtl.models.layers.film import FilmNorm
from mmmtl.ops.convolution import Conv1x1, conv3x3
from mmmtl.ops.low_rank import LowRankConv2d, collapsed_sum, collapsing_pays, gated_sum
from mmmtl.ops.precision import to_float32
from mmmtl.registry import MODELS


class Route(NamedTuple):
    """What a router decides for each sample: gates (B, experts), 0 for those not chosen, and the mix (B,)."""

    gates: Tensor
    mix: Tensor


class _Router(nn.Module):
    """Looks at a map by position and by channel, and weighs the experts."""

    def __init__(self, width: int, positions: int, experts: int, topk: int, pre_softmax: bool) -> None:
        super().__init__()
        quarter = width // 4
        self.experts, self.topk, self.positions, self.pre_softmax = experts, topk, positions, pre_softmax
        self.local, self.local_norm = Conv1x1(width, quarter), nn.LayerNorm(quarter)
        self.local_out = nn.Conv2d(quarter, quarter, 1)
        self.spatial, self.spatial_norm = nn.Linear(positions, 1), nn.LayerNorm(width)
        self.spatial_out = nn.Conv2d(width, quarter, 1)
        self.gate = nn.Conv2d(2 * quarter, 2 * experts + 1, 1)

    def forward(self, x: Tensor, noise: Tensor | None) -> Route:
        """(B, E, h, w) and standard normal noise (B, experts) or None → route."""
        local = F.gelu(self.local_norm(self.local(x).permute(0, 2, 3, 1)))  # (B, h, w, E/4)
        # the mean over positions and the 1x1 convolution may change places
        local = F.linear(local.mean((1, 2)), self.local_out.weight.flatten(1), self.local_out.bias)
        spatial = F.gelu(self.spatial_norm(self.spatial(x.flatten(2))[..., 0]))
        spatial = F.linear(spatial, self.spatial_out.weight.flatten(1), self.spatial_out.bias)
        routed = F.linear(torch.cat([local, spatial], 1), self.gate.weight.flatten(1), self.gate.bias)
        logits, spread, mix = to_float32(routed).split((self.experts, self.experts, 1), 1)
        if noise is not None:
            logits = logits + noise * spread
        chosen = torch.zeros_like(logits).scatter(1, logits.topk(self.topk, 1).indices, 1.0)
        gates = logits.masked_fill(chosen == 0, -1e10).softmax(1) if self.pre_softmax else logits.softmax(1)
        return Route(gates * chosen, mix[:, 0])


class MLoREBlock(nn.Module):
    """One block for all tasks.

    Args:
        tasks: Task names.
        width: Channels.
        positions: h·w of the map; the router's linear layer over positions fixes it.
        ranks: Rank of every expert.
        topk: Experts kept per sample.
        own_rank: Rank of each task's own convolution.
        pre_softmax: Choose the experts before the softmax, so that the gates of the chosen ones add up to 1.
    """

    def __init__(
        self,
        tasks: Sequence[str],
        width: int,
        positions: int,
        ranks: Sequence[int],
        topk: int,
        own_rank: int,
        pre_softmax: bool = False,
    ) -> None:
        super().__init__()
        self.experts = nn.ModuleList(LowRankConv2d(width, rank) for rank in ranks)
        self.shared = conv3x3(width, width)
        self.enter = nn.ModuleDict({n: Conv1x1(width, width) for n in tasks})
        self.own = nn.ModuleDict({n: LowRankConv2d(width, own_rank) for n in tasks})
        self.leave = nn.ModuleDict({n: Conv1x1(width, width) for n in tasks})
        self.router = nn.ModuleDict({n: _Router(width, positions, len(ranks), topk, pre_softmax) for n in tasks})
        self.expert_norm = nn.ModuleDict({n: FilmNorm(width, act=False) for n in tasks})
        self.norm = nn.ModuleDict({n: FilmNorm(width) for n in tasks})
        for module in [self.shared, *(m for e in [*self.experts, *self.own.values()] for m in (e.down, e.up))]:
            nn.init.kaiming_uniform_(module.weight, a=5**0.5)
            nn.init.zeros_(module.bias)

    def forward(self, maps: Sequence[Tensor], noises: Sequence[Tensor | None]) -> tuple[list[Tensor], Tensor]:
        """One map (B, E, h, w) per task → one map per task, and the gates (S, B, experts)."""
        entered = [enter(x) for x, enter in zip(maps, self.enter.values())]
        routes = [router(x, noise) for router, x, noise in zip(self.router.values(), entered, noises)]
        collapse = not self.training and collapsing_pays(entered[0])
        mixed = self._collapsed(entered, routes) if collapse else self._dense(entered, routes)
        left = [leave(norm(x)) for x, norm, leave in zip(mixed, self.norm.values(), self.leave.values())]
        return left, torch.stack([route.gates for route in routes])

    def _dense(self, entered: list[Tensor], routes: list[Route]) -> list[Tensor]:
        """All experts over the maps of all tasks at once."""
        rows, o = (len(entered), -1), torch.cat(entered)  # (S·B, E, h, w)
        experts = gated_sum(o, list(self.experts), torch.cat([route.gates for route in routes])).unflatten(0, rows)
        shared = self.shared(o.detach()).unflatten(0, rows)
        return [
            norm(expert) + own(x) * route.mix.to(x.dtype)[:, None, None, None] + common
            for norm, own, x, route, expert, common in zip(
                self.expert_norm.values(), self.own.values(), entered, routes, experts, shared
            )
        ]

    def _collapsed(self, entered: list[Tensor], routes: list[Route]) -> list[Tensor]:
        """One 3x3 kernel per sample and task, holding all that happens between ``enter`` and ``norm``."""
        mixed = []
        for x, route, norm, own in zip(entered, routes, self.expert_norm.values(), self.own.values()):
            gain, offset = (row[0] for row in norm.film_parameters())
            chosen = [
                [(own, mix), *((expert, gate * gain) for expert, gate in zip(self.experts, gates) if gate > 0)]
                for gates, mix in zip(route.gates, route.mix)
            ]
            mixed.append(collapsed_sum(x, self.shared, offset, chosen))
        return mixed


@MODELS.register_module()
class MLoREConditions(BaseModule):
    """Two MLoRE blocks per level, shared by the tasks.

    Noise names, training: ``router.<level>.<task>.<block>`` (B, experts).

    Args:
        tasks: Task names.
        levels: Number of levels.
        width: Channels E of the levels.
        grid: (h, w) of the levels; fixed by the router.
        ranks: Ranks of the experts.
        topk: Experts kept per sample.
        own_rank: Rank of each task's own convolution.
        balance_weight: Weight of the load-balancing loss, ``loss_balance``: per block and level the squared coefficient
            of variation of the experts' mean gates.
        pre_softmax: Choose the experts before the softmax (published MLoRE on NYUDv2).
    """

    def __init__(
        self,
        tasks: Sequence[str],
        levels: int,
        width: int,
        grid: Sequence[int],
        ranks: Sequence[int],
        topk: int,
        own_rank: int = 72,
        balance_weight: float = 3e-4,
        pre_softmax: bool = False,
    ) -> None:
        super().__init__()
        if not 0 < topk <= len(ranks) or len(ranks) < 2:
            raise ConfigError(
                f'MLoREConditions: ranks must be two or more, and topk 1 to their number, got ranks={list(ranks)}, topk={topk}'
            )
        self.tasks, self.grid, self.balance_weight = list(tasks), tuple(grid), balance_weight
        self.levels = nn.ModuleList(
            nn.ModuleList(
                MLoREBlock(tasks, width, grid[0] * grid[1], ranks, topk, own_rank, pre_softmax) for _ in range(2)
            )
            for _ in range(levels)
        )
        self.num_experts = len(ranks)

    def forward(self, levels: Sequence[Tensor], noise: Any = None) -> tuple[list[list[Tensor]], dict[str, Tensor]]:
        """Levels (B, E, h, w) → per level a condition (B, E, h, w) for every task; in training also ``loss_balance``."""
        if tuple(levels[0].shape[-2:]) != self.grid:
            raise InputError(
                f'MLoREConditions was built for maps of {self.grid[0]}x{self.grid[1]} positions, got '
                f'{levels[0].shape[-2]}x{levels[0].shape[-1]}: its router is tied to one image size, {self.grid[0]} and '
                f'{self.grid[1]} times the stride of the levels. Give images of it, or model ... conditions.grid another'
            )
        conditions, balance = [], levels[0].new_zeros((), dtype=torch.float32)
        draws = self._draw(levels[0], noise)
        for level, x in enumerate(levels):
            maps = [x] * len(self.tasks)
            for index, block in enumerate(self.levels[level]):
                maps, gates = block(maps, [draws.get((level, task, index)) for task in self.tasks])
                mean = gates.mean((0, 1))
                balance = balance + (mean.std() / mean.mean()) ** 2
            conditions.append(maps)
        return conditions, {'loss_balance': balance * self.balance_weight} if self.training else {}

    def _draw(self, like: Tensor, noise: Any) -> dict[tuple[int, str, int], Tensor]:
        """Router noise of a training step, drawn in the order level, task, block."""
        if not self.training:
            return {}
        shape, like = (len(like), self.num_experts), like.new_empty(0, dtype=torch.float32)
        return {
            (level, task, block): noise.normal(f'router.{level}.{task}.{block}', shape, like=like)
            for level in range(len(self.levels))
            for task in self.tasks
            for block in range(2)
        }
