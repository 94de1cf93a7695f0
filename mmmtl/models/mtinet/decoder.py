"""MTI-Net (Vandenhende et al., "MTI-Net: Multi-Scale Task Interaction Networks for Multi-Task Learning", ECCV 2020).

=======================  ==============================================================================
name here                in the paper
=======================  ==============================================================================
``refine``, ``initial``  initial task features and predictions of a scale (section 3.2)
``propagate``            feature propagation module between scales (section 3.3, figure 3)
``distill``              multi-modal distillation within a scale (section 3.2, after PAD-Net)
``heads``                feature aggregation and final predictions (section 3.4)
=======================  ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import FeedForwardDecoder, Targets
from mmmtl.models.layers.basic_block import BasicBlock
from mmmtl.models.layers.conv_block import enlarge
from mmmtl.registry import MODELS


class FeaturePropagation(nn.Module):
    """Task features of a scale → what the next finer scale gets of each task.

    The mask is a softmax over groups of N consecutive channels of the concatenation of N tasks, as published; the paper
    describes one over tasks.

    Args:
        names: Task names.
        channels: C of the scale; at least 16.
    """

    def __init__(self, names: Sequence[str], channels: int) -> None:
        super().__init__()
        total = len(names) * channels
        self.mask = nn.Sequential(
            BasicBlock(total, total // 4), BasicBlock(total // 4, total // 4), nn.Conv2d(total // 4, total, 1)
        )
        self.shared = BasicBlock(total, channels)
        hidden = channels // 16
        self.gates = nn.ModuleDict(
            {n: nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels)) for n in names}
        )

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Maps (B, C, h, w) per task → maps (B, C, h, w) per task."""
        x = torch.cat(list(features.values()), 1)  # (B, N·C, h, w)
        groups = (-1, len(features))
        mask = self.mask(x).unflatten(1, groups).softmax(2)  # (B, C, N, h, w)
        shared = self.shared((mask * x.unflatten(1, groups)).flatten(1, 2))  # (B, C, h, w)
        mean = shared.mean((2, 3))  # (B, C)
        return {n: shared * gate(mean).sigmoid()[..., None, None] + features[n] for n, gate in self.gates.items()}


class Distillation(nn.Module):
    """To every task's features, what the other tasks' features hold for it, gated.

    Args:
        names: Tasks with final predictions.
        sources: Tasks with initial predictions; each reads all others.
        channels: C of the scale.
    """

    def __init__(self, names: Sequence[str], sources: Sequence[str], channels: int) -> None:
        super().__init__()

        def convs() -> nn.ModuleDict:
            return nn.ModuleDict(
                {
                    n: nn.ModuleDict(
                        {s: nn.Conv2d(channels, channels, 3, padding=1, bias=False) for s in sources if s != n}
                    )
                    for n in names
                }
            )

        self.value, self.gate = convs(), convs()

    def forward(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Maps (B, C, h, w) per source → maps (B, C, h, w) per task."""
        out = {name: features[name] for name in self.value}
        for source, x in features.items():
            readers = [name for name in self.value if source in self.value[name]]
            if not readers:
                continue
            # every convolution that reads this source, as one
            weights = [convs[n][source].weight for convs in (self.value, self.gate) for n in readers]
            values, gates = F.conv2d(x, torch.cat(weights), padding=1).chunk(2, 1)
            given = values * gates.sigmoid()
            for name, part in zip(readers, given.chunk(len(readers), 1)):
                out[name] = out[name] + part
        return out


@MODELS.register_module()
class MTINetDecoder(FeedForwardDecoder):
    """Initial predictions at four scales, features passed from coarse to fine, distillation between tasks at each.

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. Four levels, each of half the resolution
            of the one before (an HRNet's or a ResNet's 4, 8, 16, 32), at least 16 channels from the second on.
        final: Tasks with final predictions; None, or none of them: all. The others only help (``auxiliary tasks``).
        inter_weight: Weight of the initial predictions' losses (``scale_K.loss_<task>``).

    Raises:
        ConfigError: Levels that do not fit, or an unknown task in ``final``.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        final: Sequence[str] | None = None,
        inter_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        c, names = self.in_channels, list(self.tasks)
        self.size_multiple = self.strides[-1]
        if len(c) != 4 or any(b != 2 * a for a, b in zip(self.strides, self.strides[1:])):
            raise ConfigError(
                f'MTINetDecoder needs four levels, each of twice the stride of the one before, got strides {self.strides}'
            )
        if min(c[1:]) < 16:
            raise ConfigError(f'MTINetDecoder needs at least 16 channels in levels 1 to 3, got {c}')
        if unknown := [n for n in final or () if n not in names]:
            raise ConfigError(f"MTINetDecoder: final names no task '{unknown[0]}'.{suggest(unknown[0], names)}")
        self.final = [n for n in names if not final or n in final]
        self.inter_weight = inter_weight
        wide = [c[k] + c[k + 1] for k in range(3)] + [c[3]]
        self.refine = nn.ModuleList(
            nn.ModuleDict({n: nn.Sequential(BasicBlock(wide[k], c[k]), BasicBlock(c[k], c[k])) for n in names})
            for k in range(4)
        )
        self.initial = nn.ModuleList(
            nn.ModuleDict({n: nn.Conv2d(c[k], t.out_channels, 1) for n, t in self.tasks.items()}) for k in range(4)
        )
        self.propagate = nn.ModuleList(FeaturePropagation(names, c[k]) for k in (1, 2, 3))
        self.distill = nn.ModuleList(Distillation(self.final, names, c[k]) for k in range(4))
        self.heads = nn.ModuleDict({n: self._head(sum(c), self.tasks[n].out_channels) for n in self.final})

    @staticmethod
    def _head(channels: int, out_channels: int) -> nn.Sequential:
        return nn.Sequential(
            nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(), nn.Conv2d(channels, out_channels, 1)
        )

    def forward(self, feats: Sequence[Tensor]) -> tuple[dict[str, Tensor], list[dict[str, Tensor]]]:
        """Levels → final maps (B, C, h, w) at the first level's stride, and initial maps per scale, finest first.

        Raises:
            ConfigError: Levels whose grids are not halves of each other.
        """
        for fine, coarse in zip(feats, feats[1:]):
            if fine.shape[-2] != 2 * coarse.shape[-2] or fine.shape[-1] != 2 * coarse.shape[-1]:
                raise ConfigError(
                    f'MTINetDecoder takes images whose height and width are multiples of {self.strides[-1]}; the levels '
                    f'have grids {[tuple(x.shape[-2:]) for x in feats]}'
                )
        features: list[dict[str, Tensor]] = []  # from coarse to fine
        passed: dict[str, Tensor] = {}
        for k in (3, 2, 1, 0):
            inputs = {n: torch.cat([feats[k], enlarge(passed[n], 2)], 1) if passed else feats[k] for n in self.tasks}
            features.append({n: refine(inputs[n]) for n, refine in self.refine[k].items()})
            if k:
                passed = self.propagate[k - 1](features[-1])
        features.reverse()
        initial = [{n: head(features[k][n]) for n, head in self.initial[k].items()} for k in range(4)]
        distilled = [distill(x) for distill, x in zip(self.distill, features)]
        return {n: self._predict_task(head, [x[n] for x in distilled]) for n, head in self.heads.items()}, initial

    def _predict_task(self, head: nn.Sequential, maps: Sequence[Tensor]) -> Tensor:
        """Maps of the four scales → raw map. The first 1x1 convolution commutes with the enlargement of the coarse maps."""
        weights = head[0].weight.split(self.in_channels, 1)
        x = F.conv2d(maps[0], weights[0], head[0].bias)
        for k in (1, 2, 3):
            x = x + enlarge(F.conv2d(maps[k], weights[k]), 2**k)
        return head[1:](x)

    def loss_and_maps(
        self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int], batch: int | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        raw, initial = self(feats)
        losses = self.task_losses(raw, {n: t for n, t in targets.items() if n in raw}, size, batch=batch)
        losses = {key: value for key, value in losses.items() if key.removeprefix('loss_') in raw}
        for k, maps in enumerate(initial):
            more = self.task_losses(maps, targets, size, prefix=f'scale_{k}.', weight=self.inter_weight, batch=batch)
            losses.update(more)
        return losses, self._all_maps(raw, initial)

    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self._all_maps(*self(feats))

    def _all_maps(self, raw: dict[str, Tensor], initial: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
        """Final maps; of tasks without, the finest initial ones."""
        return {n: raw[n] if n in raw else initial[0][n] for n in self.tasks}
