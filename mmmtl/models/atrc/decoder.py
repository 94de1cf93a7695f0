"""ATRC (Brüggemann et al., "Exploring Relational Context for Multi-Task Dense Prediction", ICCV 2021).

=======================  ============================================================================
name here                in the paper
=======================  ============================================================================
``features``             F_t, features of task t
``label_logits``         auxiliary predictions, whose softmax over positions pools label tokens
``contexts``             context pooling blocks: for target t and source s one of none, global, local,
                         T-label and S-label (section 3.2)
``genotypes``            which of them: rows are targets, columns sources
=======================  ============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import FeedForwardDecoder, Targets
from mmmtl.models.layers.conv_block import concat_levels, conv_bn_relu
from mmmtl.ops.precision import to_float32
from mmmtl.registry import MODELS

from .context import NONE, SOURCE_LABEL, TARGET_LABEL, Context


@MODELS.register_module()
class ATRCDecoder(FeedForwardDecoder):
    """Distillation heads that read, from every other task, the kind of context that the genotype says.

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`. Levels are enlarged to the first one.
        genotypes: ``{target: row}``; a row has one digit per source in the order of ``tasks``: 0 none, 1 global, 2 local,
            3 label of the target, 4 label of the source. One row for all tasks may be given as a digit (``'3'``).
        channels: c; None: a quarter of the sum of the levels' channels.
        dropout: Share of channels dropped before the final predictions.
        regions: ``{task: config}`` of label regions that differ from the tasks' own.
        aux_weight: Weight of the auxiliary predictions' losses (``aux.loss_<task>``).

    Raises:
        ConfigError: Rows that do not fit the tasks, or regions of no task.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        genotypes: Mapping[str, str] | str = '3',
        channels: int | None = None,
        dropout: float = 0.05,
        regions: Mapping[str, dict] | None = None,
        aux_weight: float = 1.0,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        total = sum(self.in_channels)
        channels = channels or total // 4
        width = channels // 2
        self.aux_weight = aux_weight
        self.genotypes = parse_genotypes(genotypes, list(self.tasks))
        self.features = nn.ModuleDict({n: conv_bn_relu(total, channels) for n in self.tasks})
        pooled = [n for n in self.tasks if self._pools_labels_of(n)]
        if unknown := [n for n in regions or {} if n not in self.tasks]:
            raise ConfigError(
                f"{type(self).__name__}: regions names no task '{unknown[0]}'.{suggest(unknown[0], self.tasks)}"
            )
        self.regions = nn.ModuleDict(
            {n: MODELS.build((regions or {}).get(n) or self.tasks[n].default_regions()) for n in pooled}
        )
        self.label_conv = nn.ModuleDict({n: conv_bn_relu(total, total, 1) for n in pooled})
        self.label_logits = nn.ModuleDict({n: nn.Conv2d(total, self.regions[n].classes, 1) for n in pooled})
        self.contexts = nn.ModuleDict(
            {
                t: nn.ModuleDict({s: Context(channels, width, kind) for s, kind in row.items()})
                for t, row in self.genotypes.items()
            }
        )
        self.contexts_out = nn.ModuleDict(
            {t: self._out(len(row) * width, channels) for t, row in self.genotypes.items() if row}
        )
        self.fuse = nn.ModuleDict(
            {t: conv_bn_relu(2 * channels if row else channels, channels, 1) for t, row in self.genotypes.items()}
        )
        self.dropout = nn.ModuleDict({n: nn.Dropout2d(dropout) for n in self.tasks})
        self.heads = nn.ModuleDict({n: nn.Conv2d(channels, t.out_channels, 1) for n, t in self.tasks.items()})
        for conv in (*self.heads.values(), *self.label_logits.values()):
            nn.init.normal_(conv.weight, std=0.01)
            nn.init.zeros_(conv.bias)

    def _pools_labels_of(self, name: str) -> bool:
        if TARGET_LABEL in self.genotypes[name].values():
            return True
        return any(row.get(name) == SOURCE_LABEL for row in self.genotypes.values())

    @staticmethod
    def _out(in_channels: int, channels: int) -> nn.Sequential:
        """1x1 convolution and a norm that starts as zero, so that a new network reads no context."""
        layer = nn.Sequential(nn.Conv2d(in_channels, channels, 1, bias=False), nn.BatchNorm2d(channels))
        nn.init.zeros_(layer[1].weight)
        return layer

    def forward(self, feats: Sequence[Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Levels → final maps (B, C_t, h, w) and auxiliary label maps (B, A_t, h, w) on the first level's grid."""
        x = concat_levels(feats, feats[0].shape[-2:])
        features = {n: layer(x) for n, layer in self.features.items()}
        still = x.detach()
        labels = {n: self.label_logits[n](conv(still)) for n, conv in self.label_conv.items()}
        shares = {n: logits.flatten(2).softmax(-1) for n, logits in labels.items()}
        raw = {}
        for target, row in self.contexts.items():
            own = features[target]
            y = own
            if len(row):
                read = [self._read(context, target, source, features, shares) for source, context in row.items()]
                y = torch.cat([own, self.contexts_out[target](torch.cat(read, 1))], 1)
            raw[target] = self.heads[target](self.dropout[target](self.fuse[target](y)))
        return raw, labels

    def _read(
        self, context: nn.Module, target: str, source: str, features: Mapping[str, Tensor], shares: Mapping[str, Tensor]
    ) -> Tensor:
        """What a target reads of a source: (B, a, h, w)."""
        pooled = {TARGET_LABEL: target, SOURCE_LABEL: source}.get(context.kind)
        return context(features[target], features[source], None if pooled is None else shares[pooled])

    def loss_and_maps(
        self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int], batch: int | None = None
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        raw, labels = self(feats)
        losses = self.task_losses(raw, targets, size, batch=batch)
        for name, logits in labels.items():
            losses[f'aux.loss_{name}'] = self._label_loss(name, logits, targets.get(name), size)
        return losses, raw

    def _label_loss(
        self, name: str, logits: Tensor, target: tuple[Tensor, Tensor] | None, size: tuple[int, int]
    ) -> Tensor:
        """Loss of an auxiliary prediction; an exact zero that keeps the graph where nobody is labelled."""
        if target is None:
            return to_float32(logits.flatten()[:0]).sum()
        index, label = target
        task, regions = self.tasks[name], self.regions[name]
        logits = F.interpolate(to_float32(logits[index]), size, mode='bilinear', align_corners=False)
        loss = task.loss if regions.loss is None else regions.loss
        return loss(logits, regions(label)) * task.loss_weight * self.aux_weight

    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self(feats)[0]


def parse_genotypes(genotypes: Mapping[str, str] | str, names: Sequence[str]) -> dict[str, dict[str, int]]:
    """Rows of digits → ``{target: {source: kind}}`` without the pairs that read nothing.

    Raises:
        ConfigError: A task without a row, a row of another length, a digit that is no kind of context.
    """
    rows = {n: genotypes * len(names) for n in names} if isinstance(genotypes, str) else dict(genotypes)
    if set(rows) != set(names):
        raise ConfigError(f'genotypes needs a row for each of the tasks {list(names)}, got rows for {sorted(rows)}')
    for target, row in rows.items():
        if len(row) != len(names) or set(row) - set('01234'):
            raise ConfigError(
                f"genotypes['{target}']='{row}' must have {len(names)} digits from 0 to 4, one for each source in the order "
                f'{list(names)}'
            )
    return {t: {s: int(kind) for s, kind in zip(names, rows[t]) if int(kind) != NONE} for t in names}
