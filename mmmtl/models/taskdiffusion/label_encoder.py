"""TaskDiffusion's cross-task label encoding: all tasks' labels or predictions → one bounded map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from mmengine.model import BaseModule
from torch import Tensor, nn

from mmmtl.errors import ConfigError, suggest
from mmmtl.ops.convolution import as_channels_last, conv1x1
from mmmtl.ops.precision import to_float32
from mmmtl.registry import MODELS
from mmmtl.tasks import Task


@MODELS.register_module()
class CrossTaskLabelEncoder(BaseModule):
    """Codes of all tasks, mixed by a 1x1 convolution and squashed to ±``scale`` (TaskDiffusion, section 3.2).

    A discrete task is embedded by a table with one more row for "unknown", a continuous one by a 1x1 convolution, blended
    with a learned code by the share of unknown pixels. A task that a sample has no label for is unknown everywhere.

    Args:
        tasks: ``{name: Task}``; their order is the order of the codes.
        width: Channels of the mixed map; each code has ``width // 4``.
        separate: Tasks whose code is not mixed but put in front of the mixed map (published PASCAL-Context models:
            saliency). All tasks: no cross-task encoding.
        scale: Bound of the encoded map.
    """

    def __init__(
        self, tasks: Mapping[str, Task], width: int, separate: Sequence[str] = (), scale: float = 0.01
    ) -> None:
        super().__init__()
        for name in separate:
            if name not in tasks:
                raise ConfigError(
                    f"separate_codes names '{name}', which is not among the tasks {list(tasks)}.{suggest(name, tasks)}"
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
                self.tables[name] = nn.Conv2d(task.code_channels, self.code_channels, 1)
                self.unknown[name] = nn.Parameter(torch.randn(self.code_channels))
        self.mix = nn.Conv2d(len(self.mixed) * self.code_channels, width, 1) if self.mixed else None
        self.channels = len(self.separate) * self.code_channels + (width if self.mixed else 0)

    def _embed(self, name: str, code: Tensor, unknown: Tensor | None = None) -> Tensor:
        """A task's code → (n, c, h, w), channels-last."""
        table = self.tables[name]
        if isinstance(table, nn.Embedding):
            return table(code).permute(0, 3, 1, 2)
        known = conv1x1(as_channels_last(code.to(table.weight.dtype)), table.weight, table.bias)
        return (
            known
            if unknown is None
            else torch.lerp(known, self.unknown[name][:, None, None].to(known), unknown.to(known))
        )

    def _unknown_code(self, name: str) -> Tensor:
        """(c,): the code of "nothing known"."""
        table = self.tables[name]
        return table.weight[-1] if isinstance(table, nn.Embedding) else self.unknown[name]

    def combine(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Codes (B, c, h, w) of all tasks → (B, ``channels``, h, w) in ±``scale``."""
        parts = [to_float32(codes[name]) for name in self.separate]
        if self.mix is not None:
            parts.append(
                to_float32(conv1x1(torch.cat([codes[name] for name in self.mixed], 1), self.mix.weight, self.mix.bias))
            )
        encoded = torch.cat(parts, 1) if len(parts) > 1 else parts[0]
        return (encoded.sigmoid() * 2 - 1) * self.scale

    def encode_labels(self, targets: Mapping[str, tuple[Tensor, Tensor]], batch: int, grid: tuple[int, int]) -> Tensor:
        """Labels → clean map (``batch``, ``channels``, h, w) on ``grid``.

        Args:
            targets: ``{task: (positions (n,), labels (n, ...))}`` of the labelled samples; tasks may be missing.
            batch: Samples of the batch.
            grid: (h, w).
        """
        codes = {}
        for name, task in self.tasks.items():
            index, label = targets.get(name, (None, None))
            blank = self._unknown_code(name)[None, :, None, None]
            if index is None:
                # an exact zero keeps the table in the graph, so that all ranks reduce the same gradients
                idle = sum(p.flatten()[:1].sum() for p in self.tables[name].parameters()) * 0.0
                codes[name] = (blank + idle).expand(batch, -1, *grid)
                continue
            known = self._embed(name, *task.code_label(label, grid))
            if len(index) == batch:
                # every sample is labelled; the loader may still have listed them in another order
                codes[name] = known[torch.argsort(index)]
            else:
                codes[name] = blank.to(known).expand(batch, -1, *grid).index_copy(0, index, known)
        return self.combine(codes)

    def encode_logits(self, raw: Mapping[str, Tensor]) -> Tensor:
        """Raw maps (B, C, h, w) → clean map (B, ``channels``, h, w) on the same grid."""
        return self.combine({name: self._embed(name, task.code_logits(raw[name])) for name, task in self.tasks.items()})
