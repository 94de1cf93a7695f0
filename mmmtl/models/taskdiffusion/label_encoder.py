"""TaskDiffusion's cross-task label encoding: all tasks' labels or predictions → one bounded map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.models.decoder import zero_loss
from mmmtl.ops.convolution import Conv1x1
from mmmtl.ops.precision import to_float32
from mmmtl.registry import MODELS
from mmmtl.tasks import Task


@MODELS.register_module()
class CrossTaskLabelEncoder(BaseModule):
    """Codes K'_s of all tasks, mixed by a 1x1 convolution and squashed to ±``scale`` (TaskDiffusion, section 3.2).

    A discrete task is embedded by a table with one more row for "unknown", a continuous one by a 1x1 convolution, blended
    with a learned code by the share of unknown pixels. A task that a sample has no label for is unknown everywhere.

    A label encoder of your own has the constructor's first two arguments, the attribute ``channels`` (those of the
    cross-task map), :meth:`encode_labels` and :meth:`encode_logits`.

    Args:
        tasks: ``{name: Task}``; their order is the order of the codes.
        width: Channels of the mixed map; each code has ``width // 4``.
        separate: Tasks whose code is not mixed but put in front of the mixed map (published PASCAL-Context models:
            saliency). All tasks: no cross-task encoding (Table 3).
        scale: Bound of the encoded map (Table 5).

    Raises:
        ConfigError: ``separate`` names an unknown task, or the levels have fewer than 4 channels.
    """

    def __init__(
        self, tasks: Mapping[str, Task], width: int, separate: Sequence[str] = (), scale: float = 0.01
    ) -> None:
        super().__init__()
        for name in separate:
            if name not in tasks:
                raise ConfigError(
                    f"CrossTaskLabelEncoder: separate names '{name}', which is not among the tasks {list(tasks)}."
                    f'{suggest(name, tasks)}'
                )
        if width < 4:
            raise ConfigError(f'the label encoder needs levels of at least 4 channels, got {width}')
        self.tasks, self.scale, self.code_channels = dict(tasks), scale, width // 4
        self.separate = [name for name in tasks if name in separate]
        self.mixed = [name for name in tasks if name not in separate]
        self.tables, self.unknown = nn.ModuleDict(), nn.ParameterDict()
        for name, task in tasks.items():
            if task.code_classes is not None:
                self.tables[name] = nn.Embedding(task.code_classes + 1, self.code_channels)
            else:
                self.tables[name] = Conv1x1(task.code_channels, self.code_channels)
                self.unknown[name] = nn.Parameter(torch.randn(self.code_channels))
        self.mix = Conv1x1(len(self.mixed) * self.code_channels, width) if self.mixed else None
        self.channels = len(self.separate) * self.code_channels + (width if self.mixed else 0)

    def embed(self, name: str, code: Tensor, unknown: Tensor | None = None) -> Tensor:
        """K'_s (n, c, h, w) of a task's code, and of its share of unknown pixels (n, 1, h, w); see :class:`Task`."""
        table = self.tables[name]
        if isinstance(table, nn.Embedding):
            return table(code).permute(0, 3, 1, 2)
        known = table(code.to(table.weight.dtype))
        if unknown is None:
            return known
        return torch.lerp(known, self.unknown[name][:, None, None].to(known), unknown.to(known))

    def unknown_code(self, name: str) -> Tensor:
        """(1, c, 1, 1): K'_s where nothing is known."""
        table = self.tables[name]
        code = table.weight[-1] if isinstance(table, nn.Embedding) else self.unknown[name]
        return code[None, :, None, None]

    def combine(self, codes: Mapping[str, Tensor]) -> Tensor:
        """K'_s (B, c, h, w) of all tasks → z (B, ``channels``, h, w) in ±``scale``."""
        parts = [to_float32(codes[name]) for name in self.separate]
        if self.mix is not None:
            parts.append(to_float32(self.mix(torch.cat([codes[name] for name in self.mixed], 1))))
        encoded = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        return (encoded.sigmoid() * 2 - 1) * self.scale

    def encode_labels(self, targets: Mapping[str, tuple[Tensor, Tensor]], batch: int, grid: tuple[int, int]) -> Tensor:
        """Labels K_s → clean map z_0 (``batch``, ``channels``, h, w) on ``grid``.

        Args:
            targets: ``{task: (positions (n,), labels (n, ...))}`` of the labelled samples; tasks may be missing.
            batch: Samples of the batch.
            grid: (h, w).
        """
        codes = {}
        for name, task in self.tasks.items():
            blank = self.unknown_code(name)
            if name not in targets:
                codes[name] = (blank + zero_loss(self.tables[name])).expand(batch, -1, *grid)
                continue
            index, label = targets[name]
            known = self.embed(name, *task.code_label(label, grid))
            if len(index) == batch:
                # every sample is labelled; the loader may still have listed them in another order
                codes[name] = known[torch.argsort(index)]
            else:
                codes[name] = blank.to(known).expand(batch, -1, *grid).index_copy(0, index, known)
        return self.combine(codes)

    def encode_logits(self, raw: Mapping[str, Tensor]) -> Tensor:
        """k_s (B, C, h, w) → clean map z_0 (B, ``channels``, h, w) on the same grid."""
        return self.combine({name: self.embed(name, task.code_logits(raw[name])) for name, task in self.tasks.items()})
