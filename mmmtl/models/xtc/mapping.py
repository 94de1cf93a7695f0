"""The joint space of cross-task consistency: what maps of different tasks are compared in (MTPSL, section 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.models.layers.label_samples import one_hot, sample_classes
from mmmtl.models.layers.row_norm import RowNorm
from mmmtl.models.layers.segnet import ENCODER_UNITS, xavier_
from mmmtl.ops.recompute import recomputed
from mmmtl.ops.take_rows import take_rows
from mmmtl.tasks import Task


def pair_index(source: int, target: int, count: int) -> int:
    """Column of the pair source → target among ``count`` tasks: row by row through the matrix without its diagonal."""
    if source == target:
        raise ConfigError(f'task {source} makes no pair with itself')
    return source * (count - 1) + (target if target < source else target - 1)


# ---- tasks in the joint space ----------------------------------------------------------------------------------------
def _scaled(task: Task, values: Tensor) -> Tensor:
    """Numbers (n, C, H, W) → about [0, 1]: from their declared range, else by the largest of each image."""
    low, high = task.value_range  # type: ignore[attr-defined]
    if low > -float('inf') and high < float('inf'):
        return (values - low) / (high - low)
    if low > -float('inf'):
        return (values - low) / ((values - low).amax((1, 2, 3), keepdim=True) + 1e-12)
    return values / (2 * values.abs().amax((1, 2, 3), keepdim=True) + 1e-12) + 0.5


def joint_prediction(task: Task, logits: Tensor, uniform: Tensor | None = None) -> Tensor:
    """A raw map (n, C, H, W) as the mapping network takes it, with gradient.

    Classes: a straight-through sample of the predicted distribution, one-hot (Gumbel-softmax, temperature 1). One
    logit: its sigmoid. Numbers of a bounded range (normals, albedo): that range as [0, 1]. Numbers bounded below
    alone (depth): divided by the image's largest. Other numbers: symmetric about 0.5 by the image's largest
    magnitude.

    Args:
        task: The map's task.
        logits: Raw.
        uniform: Draws in [0, 1) of the logits' shape, for classes.
    """
    if task.categorical and task.out_channels > 1:
        if uniform is None:
            raise ValueError(f"task '{task.name}': classes are sampled, which takes uniform draws")
        return sample_classes(logits, uniform)
    if task.categorical:
        return logits.sigmoid()
    bounded = all(abs(v) < float('inf') for v in task.value_range)  # type: ignore[attr-defined]
    return _scaled(task, task.predict(logits) if bounded else logits)


def joint_label(task: Task, label: Tensor) -> Tensor:
    """A label as the mapping network takes it, (n, C, H, W): as :func:`joint_prediction`, certain.

    Unknown pixels are no class at all, or the number 0 before scaling; the published term has no mask.
    """
    if task.categorical:
        return one_hot(label, task.out_channels)
    return _scaled(task, torch.where(torch.isnan(label), 0.0, label))


# ---- network ---------------------------------------------------------------------------------------------------------
class PairUnit(nn.Module):
    """3x3 convolution, row norm, scale and shift of the pair of tasks, ReLU.

    Args:
        cin, cout: Channels.
        pairs: Number of ordered pairs; 0: no scale and shift.
    """

    def __init__(self, cin: int, cout: int, pairs: int = 0) -> None:
        super().__init__()
        self.conv, self.norm, self.pairs = nn.Conv2d(cin, cout, 3, padding=1), RowNorm(cout), pairs
        if pairs:
            self.gamma, self.beta = nn.Parameter(torch.ones(cout, pairs)), nn.Parameter(torch.zeros(cout, pairs))

    def forward(self, x: Tensor, pair: Tensor | None = None) -> Tensor:
        """(P, cin, h, w), ``pair`` (P,) → (P, cout, h, w)."""
        film = (take_rows(self.gamma.T, pair), take_rows(self.beta.T, pair)) if self.pairs else ()
        return F.relu(self.norm(self.conv(x), *film), inplace=True)


class MappingNetwork(nn.Module):
    """Maps of any task into one space, under the pair of tasks that is compared.

    A convolution of its own takes in each task's maps; the rest, a SegNet encoder, is shared by all pairs and both
    directions, and a pair has its own scale and shift after every norm. In training every row is normalised by its
    own statistics, as in the published program, which runs one image and pair at a time.

    Args:
        tasks: Tasks in order.
        filters: Channels of the five levels.
        recompute: Keep no activations for the backward pass, compute them again.
    """

    def __init__(
        self, tasks: Mapping[str, Task], filters: Sequence[int] = (64, 128, 256, 512, 512), recompute: bool = False
    ) -> None:
        super().__init__()
        if len(filters) != len(ENCODER_UNITS):
            raise ConfigError(f'the mapping network has {len(ENCODER_UNITS)} levels, filters names {len(filters)}')
        self.recompute, pairs = recompute, len(tasks) * (len(tasks) - 1)
        self.inputs = nn.ModuleDict({n: PairUnit(t.out_channels, filters[0]) for n, t in tasks.items()})
        self.levels = nn.ModuleList()
        for level, (width, count) in enumerate(zip(filters, ENCODER_UNITS)):
            before = filters[max(level - 1, 0)]
            self.levels.append(nn.ModuleList(PairUnit(before if i == 0 else width, width, pairs) for i in range(count)))
        xavier_(self)

    def forward(self, maps: Mapping[str, Tensor], order: Tensor, pair: Tensor) -> Tensor:
        """Rows of several tasks → the joint space.

        Args:
            maps: ``{task: (n, C, H, W)}``, H and W multiples of 32.
            order: (P,), P = the sum of n: place of each row of the concatenated ``maps`` in the result.
            pair: (P,): column of the pair of each row of the result.

        Returns:
            (P, ``filters[-1]``, H / 32, W / 32).
        """
        encoded = torch.cat(
            [self.inputs[name](rows.to(self.inputs[name].conv.weight.dtype)) for name, rows in maps.items()]
        )
        x = encoded[torch.argsort(order)]
        for level in self.levels:
            again = self.recompute and x.requires_grad
            x = recomputed(level, x, pair, function=partial(_level, level)) if again else _level(level, x, pair)
        return x


def _level(units: nn.ModuleList, x: Tensor, pair: Tensor) -> Tensor:
    for unit in units:
        x = unit(x, pair)
    return F.max_pool2d(x, 2)
