"""What passes between the two streams: features recorded in the auxiliary one, looked at by the main one.

Both are handed to a UNet as the argument ``exchange`` of its attention processors and called with the place of every
self-attention and its output. No state hangs on the networks, so gradient checkpointing may run a block twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mmmtl.diffusion.noise import NoiseSource

from .task_attention import TaskAttention


class FeatureBank:
    """Features of the auxiliary stream, {place: {task: (B, N, C)}}, and the keys and values made of them.

    A key or value depends on its source alone, not on who looks: without gradient it is projected once and kept for
    all main tasks (the feature then is dropped). With gradient it is projected at every call, so that a block can be
    run again.
    """

    def __init__(self) -> None:
        self.features: dict[str, dict[str, Tensor]] = {}
        self._projected: dict[str, tuple[list[str], Tensor, Tensor]] = {}

    def put(self, place: str, task: str, feature: Tensor) -> None:
        """Keep the feature (B, N, C) of one source."""
        self.features.setdefault(place, {})[task] = feature

    def sources(self, place: str, attention: TaskAttention, last: bool = False) -> tuple[list[str], Tensor, Tensor]:
        """Names of the S sources at a place, their keys and their values, each (S, B, N, C).

        Args:
            place: The place.
            attention: Its task attention.
            last: Nobody will ask again: nothing is kept.
        """
        if torch.is_grad_enabled():
            return _project(self.features[place], attention)
        if place not in self._projected:
            self._projected[place] = _project(self.features.pop(place), attention)
        return self._projected.pop(place) if last else self._projected[place]


def _project(features: Mapping[str, Tensor], attention: TaskAttention) -> tuple[list[str], Tensor, Tensor]:
    """Names, stacked keys and stacked values of all sources."""
    if torch.is_grad_enabled():
        pairs = [attention.project(feature, name) for name, feature in features.items()]
        return list(features), torch.stack([k for k, _ in pairs]), torch.stack([v for _, v in pairs])
    first = next(iter(features.values()))
    keys, values = (first.new_empty(len(features), *first.shape) for _ in range(2))
    for i, (name, feature) in enumerate(features.items()):
        keys[i], values[i] = attention.project(feature, name)
    return list(features), keys, values


class Recorder:
    """Copies every self-attention's output into a bank and changes nothing.

    Args:
        bank: Where to.
        tasks: Tasks of the batch: it holds all samples of the first task, then all of the second, ...
        places: Where the main stream looks; nothing is kept elsewhere.
    """

    def __init__(self, bank: FeatureBank, tasks: Sequence[str], places: Mapping[str, TaskAttention]) -> None:
        self.bank, self.tasks, self.places = bank, list(tasks), places

    def __call__(self, place: str, x: Tensor) -> Tensor:
        if place in self.places:
            for task, feature in zip(self.tasks, x.chunk(len(self.tasks))):
                self.bank.put(place, task, feature)
        return x


class Hiding:
    """Attention-guided task masking of one training step (StableMTL, section 3.3).

    At every layer, with probability ``share``, one source is hidden from the whole batch, drawn in proportion to how
    much it is looked at.

    Draws of the noise source, in the order of execution: ``hide/<place>``, uniform (1,), the coin; where it falls
    below ``share``, ``hide/<place>/race``, uniform (S,): S numbers u of a race that the source with the largest
    score / -log(1 - u) wins, which is a draw in proportion to the scores.

    Args:
        noise: Source of the draws.
        share: Probability in [0, 1] of hiding a source at a layer.
        forced: {place: name of the hidden source, or None}: replay instead of drawing.
    """

    def __init__(self, noise: NoiseSource | None, share: float, forced: Mapping[str, str | None] | None = None) -> None:
        self.noise, self.share = noise, share
        self.hidden: dict[str, str | None] = dict(forced or {})
        self.scores: dict[str, Tensor] = {}

    def wanted(self, place: str) -> bool:
        """Whether a source is hidden at ``place``; the same answer when a block is run again."""
        if place not in self.hidden:
            coin = self.noise.uniform(f'hide/{place}', (1,), 0.0, 1.0, like=torch.empty(()))  # type: ignore[union-attr]
            self.hidden[place] = '' if float(coin) < self.share else None
        return self.hidden[place] is not None

    def choose(self, place: str, names: Sequence[str], scores: Tensor) -> int:
        """The place of the hidden source among ``names``."""
        self.scores[place] = scores
        if not self.hidden[place]:
            draws = self.noise.uniform(f'hide/{place}/race', (len(names),), 0.0, 1.0, like=torch.empty(()))  # type: ignore[union-attr]
            race = scores.float().cpu() / (-torch.log1p(-draws)).clamp_min(1e-30)
            self.hidden[place] = names[int(race.argmax())]
        return names.index(self.hidden[place])  # type: ignore[arg-type]


class Exchange:
    """Adds to every self-attention's output of the main stream what it sees in the bank.

    Args:
        bank: Features of the auxiliary stream for the same images.
        tasks: Main tasks of the batch: all samples of the first task, then all of the second, ...
        places: The task attention of every place.
        exclude_self: A task does not look at its own auxiliary feature.
        hiding: Task masking (training).
        last: The bank is not asked again afterwards: it is emptied on the way.
    """

    def __init__(
        self,
        bank: FeatureBank,
        tasks: Sequence[str],
        places: Mapping[str, TaskAttention],
        exclude_self: bool = True,
        hiding: Hiding | None = None,
        last: bool = False,
    ) -> None:
        self.bank, self.tasks, self.places = bank, list(tasks), places
        self.exclude_self, self.hiding, self.last = exclude_self, hiding, last

    def __call__(self, place: str, x: Tensor) -> Tensor:
        if place not in self.places:
            return x
        attention = self.places[place]
        names, key, value = self.bank.sources(place, attention, self.last)
        hide = None
        if self.hiding is not None and self.hiding.wanted(place):
            hiding = self.hiding

            def hide(scores: Tensor) -> int:
                return hiding.choose(place, names, scores)

        rows = []
        for task, row in zip(self.tasks, x.chunk(len(self.tasks))):
            closed = [names.index(task)] if self.exclude_self and task in names else []
            rows.append(row + attention(row, task, key, value, closed, hide))
        return torch.cat(rows) if len(rows) > 1 else rows[0]
