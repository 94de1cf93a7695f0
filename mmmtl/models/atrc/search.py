"""ATRC's search: which kind of context every task reads from every other one (section 3.3).

=======================  ============================================================================
name here                in the paper
=======================  ============================================================================
``alphas``               α, the architecture's parameters: per target (sources, kinds)
``shares``               softmax of α
``chosen``               pairs that are decided, for good
=======================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.decoder import Targets, zero_loss
from mmmtl.registry import MODELS

from .context import GLOBAL, LOCAL, NONE, SOURCE_LABEL, TARGET_LABEL, Context
from .decoder import ATRCDecoder

KINDS = (NONE, GLOBAL, LOCAL, TARGET_LABEL, SOURCE_LABEL)
OPEN = -1
"""A pair that is not decided."""


class ContextMixture(nn.Module):
    """All kinds of context of one pair of tasks, weighted."""

    def __init__(self, channels: int, width: int, same: bool) -> None:
        super().__init__()
        kinds = [k for k in KINDS if k != NONE and not (same and k == SOURCE_LABEL)]
        self.kinds = nn.ModuleDict({str(k): Context(channels, width, k, affine=False) for k in kinds})
        self.width = width


@MODELS.register_module()
class ATRCSearchDecoder(ATRCDecoder):
    """An ATRC head that learns its genotypes: every pair of tasks reads a mixture of all kinds of context.

    In training the mixture's weights are a Gumbel-softmax of α whose temperature falls; a pair whose best two shares are
    ``margin`` apart is decided, and reads that kind alone from then on. ``loss_entropy``, first negative, then positive,
    drives the shares apart in the end. In prediction every pair reads its best kind. The line ``genotypes=dict(...)``
    that is printed when the last pair is decided, and at the end, is the argument of
    :class:`~mmmtl.models.atrc.decoder.ATRCDecoder` for the training proper, which starts anew.

    Noise names: ``gumbel.<target>``, uniform draws (sources, kinds).

    Args:
        tasks, in_channels, strides: See :class:`ATRCDecoder`.
        steps: Iterations of the search, each of which may take several batches.
        temperature: Of the Gumbel-softmax at its start and at its end.
        entropy_weight: Of ``loss_entropy`` at its start and at its end.
        margin: See above.
        **kwargs: ``channels``, ``regions`` and ``aux_weight`` of :class:`ATRCDecoder`.
    """

    chosen: Tensor

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        steps: int,
        temperature: tuple[float, float] = (1.0, 0.05),
        entropy_weight: tuple[float, float] = (-0.02, 0.06),
        margin: float = 0.3,
        **kwargs: Any,
    ) -> None:
        if steps < 1 or min(temperature) <= 0:
            raise ConfigError(
                f'ATRCSearchDecoder: steps and temperatures must be positive, got steps={steps}, temperature={temperature}'
            )
        super().__init__(tasks, in_channels, strides, genotypes=str(TARGET_LABEL), dropout=0.0, **kwargs)
        self.steps, self.temperature, self.entropy_weight, self.margin = steps, temperature, entropy_weight, margin
        names, channels = list(self.tasks), next(iter(self.heads.values())).in_channels
        self.contexts = nn.ModuleDict(
            {t: nn.ModuleDict({s: ContextMixture(channels, channels // 2, s == t) for s in names}) for t in names}
        )
        self.alphas = nn.ParameterDict({t: nn.Parameter(torch.zeros(len(names), len(KINDS))) for t in names})
        self.register_buffer('chosen', torch.full((len(names), len(names)), OPEN))
        self.register_buffer('step', torch.tensor(0))
        possible = torch.ones(len(names), len(names), len(KINDS), dtype=torch.bool)
        possible.diagonal(dim1=0, dim2=1)[SOURCE_LABEL] = False  # the same as the target's labels
        self.register_buffer('possible', possible, persistent=False)
        self._weights: dict[str, Tensor] = {}
        self.batches_per_step, self._batches = 1, 0

    # ---- architecture ------------------------------------------------------------------------------------------------
    def log_shares(self) -> Tensor:
        """(targets, sources, kinds): logarithms of the shares; impossible kinds have -inf."""
        alphas = torch.stack([self.alphas[name] for name in self.tasks])
        return alphas.masked_fill(~self.possible, -torch.inf).log_softmax(-1)

    def genotypes_found(self) -> dict[str, str]:
        """``{target: digits}`` of the best kinds, as :class:`ATRCDecoder` takes them."""
        best = torch.where(self.chosen == OPEN, self.log_shares().argmax(-1), self.chosen)
        return {name: ''.join(map(str, row)) for name, row in zip(self.tasks, best.tolist())}

    def _value(self, ends: tuple[float, float]) -> float:
        """What goes linearly from one end to the other over the search."""
        progress = min(int(self.step) / self.steps, 1.0)
        return ends[0] + (ends[1] - ends[0]) * progress

    @torch.no_grad()
    def _decide(self) -> None:
        """Choose for the pairs whose best kind stands apart from the second best."""
        best = self.log_shares().exp().topk(2, dim=-1)
        apart = best.values[..., 0] - best.values[..., 1] >= self.margin
        newly = apart & (self.chosen == OPEN)
        self.chosen = torch.where(newly, best.indices[..., 0], self.chosen)
        decided = bool((self.chosen != OPEN).all())
        if (decided and bool(newly.any())) or int(self.step) + 1 == self.steps:
            rows = ', '.join(f"{name}='{row}'" for name, row in self.genotypes_found().items())
            print_log(f'genotypes=dict({rows})', logger='current')

    def _sample(self, noise: Any) -> None:
        """Weights of the kinds for this batch, {target: (sources, kinds)}."""
        shares, temperature = self.log_shares(), self._value(self.temperature)
        for i, target in enumerate(self.tasks):
            uniform = noise.uniform(f'gumbel.{target}', tuple(shares.shape[1:]), 0.0, 1.0, like=shares)
            gumbel = -(-uniform.clamp(1e-7, 1 - 1e-7).log()).log()
            weights = ((shares[i] + gumbel) / temperature).softmax(-1)
            fixed = F.one_hot(self.chosen[i].clamp_min(0), len(KINDS)).to(weights)
            self._weights[target] = torch.where((self.chosen[i] == OPEN)[:, None], weights, fixed)

    # ---- forward -----------------------------------------------------------------------------------------------------
    def _pools_labels_of(self, name: str) -> bool:
        return True

    def _read(
        self, context: nn.Module, target: str, source: str, features: Mapping[str, Tensor], shares: Mapping[str, Tensor]
    ) -> Tensor:
        names = list(self.tasks)
        i, j = names.index(target), names.index(source)
        chosen = int(self.chosen[i, j])
        if not self.training and chosen == OPEN:
            chosen = int(self.log_shares()[i, j].argmax())
        out = features[target].new_zeros(()).expand(len(features[target]), context.width, *features[target].shape[-2:])
        for key, layer in context.kinds.items():
            if chosen == OPEN:
                out = out + self._weights[target][j, int(key)] * super()._read(layer, target, source, features, shares)
            elif chosen == int(key):
                out = super()._read(layer, target, source, features, shares)
        return out

    def loss_and_maps(
        self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int], batch: int | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        if self.training and self._batches % self.batches_per_step == 0:
            self._decide()
        self._sample(noise)
        losses, raw = super().loss_and_maps(feats, targets, noise, size, batch)
        shares = self.log_shares()
        entropy = -(shares.exp() * shares.masked_fill(~self.possible, 0.0)).sum(-1).mean()
        # what a decided pair no longer reads keeps a gradient of 0
        losses['loss_entropy'] = self._value(self.entropy_weight) * entropy + zero_loss(self.contexts)
        if self.training:
            self._batches += 1
            self.step += self._batches % self.batches_per_step == 0
        return losses, raw
