"""What passes between the two streams: features recorded in the auxiliary one, attended to by the main one.

A UNet hands the name and the output of every self-attention layer to the ``stream`` among the arguments of its
attention processors. No state hangs on the networks, so gradient checkpointing may run a block twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from mmmtl.diffusion.noise import NoiseSource

from .task_attention import TaskAttention


class AuxiliaryFeatures:
    """F of every source, {layer: {task: (B, N, C)}}, and the keys and values made of them.

    Args:
        shared: Keys and values serve several main tasks: they are made once and kept, and the feature is dropped.
            In training they are made at every call, so that a block can be run again.
    """

    def __init__(self, shared: bool = False) -> None:
        self.shared = shared
        self.features: dict[str, dict[str, Tensor]] = {}
        self._projected: dict[str, tuple[list[str], Tensor, Tensor]] = {}

    def put(self, layer: str, task: str, feature: Tensor) -> None:
        """Keep the feature (B, N, C) of one source."""
        self.features.setdefault(layer, {})[task] = feature

    def sources(self, layer: str, attention: TaskAttention, last: bool = False) -> tuple[list[str], Tensor, Tensor]:
        """Names of the S sources at a layer, their keys and their values, each (S, B, N, C).

        Args:
            layer: The layer.
            attention: Its task attention.
            last: Nobody will ask again: nothing is kept.
        """
        if not self.shared:
            return _project(self.features[layer], attention)
        if layer not in self._projected:
            self._projected[layer] = _project(self.features.pop(layer), attention)
        return self._projected.pop(layer) if last else self._projected[layer]

    def __contains__(self, layer: str) -> bool:
        return layer in self.features or layer in self._projected


def _project(features: Mapping[str, Tensor], attention: TaskAttention) -> tuple[list[str], Tensor, Tensor]:
    """Names, stacked keys and stacked values of all sources."""
    pairs = [attention.project(feature, name) for name, feature in features.items()]
    return list(features), torch.stack([k for k, _ in pairs]), torch.stack([v for _, v in pairs])


class AuxiliaryStream:
    """Copies every self-attention's output and changes nothing.

    Args:
        features: Where to.
        tasks: Tasks of the batch: it holds all samples of the first task, then all of the second, ...
        layers: Where the main stream attends to it; nothing is kept elsewhere.
    """

    def __init__(self, features: AuxiliaryFeatures, tasks: Sequence[str], layers: nn.ModuleDict) -> None:
        self.features, self.tasks, self.layers = features, list(tasks), layers

    def __call__(self, layer: str, a: Tensor) -> Tensor:
        if layer in self.layers:
            for task, feature in zip(self.tasks, a.unflatten(0, (len(self.tasks), -1)).unbind(0)):
                self.features.put(layer, task, feature)
        return a


class TaskMasking:
    """Attention-guided task masking of one main task in one training step.

    At every layer, with probability ``prob``, one source is masked for the whole batch, drawn in proportion to how much
    it is attended to.

    Draws of the noise source, in the order of execution: ``task_mask/<task>/<layer>``, uniform (1,), the coin; where it
    falls below ``prob``, ``task_mask/<task>/<layer>/source``, uniform (S,): S numbers u, of which the source with the
    largest score / -log(1 - u) wins, which is a draw in proportion to the scores.

    Args:
        task: The main task.
        noise: Source of the draws.
        prob: Probability in [0, 1] of masking a source at a layer.
    """

    def __init__(self, task: str, noise: NoiseSource, prob: float) -> None:
        self.task, self.noise, self.prob = task, noise, prob
        self.masked: dict[str, str | None] = {}
        self.scores: dict[str, Tensor] = {}

    def wanted(self, layer: str) -> bool:
        """Whether a source is masked at ``layer``; the same answer when a block is run again."""
        if layer not in self.masked:
            coin = self.noise.uniform(f'task_mask/{self.task}/{layer}', (1,), 0.0, 1.0, like=torch.empty(()))
            self.masked[layer] = '' if float(coin) < self.prob else None
        return self.masked[layer] is not None

    def choose(self, layer: str, names: Sequence[str], scores: Tensor) -> int:
        """Which of ``names`` is masked, by their ``scores`` (S,)."""
        self.scores[layer] = scores
        if not self.masked[layer]:
            draws = self.noise.uniform(
                f'task_mask/{self.task}/{layer}/source', (len(names),), 0.0, 1.0, like=torch.empty(())
            )
            race = scores.float().cpu() / (-torch.log1p(-draws)).clamp_min(1e-30)
            self.masked[layer] = names[int(race.argmax())]
        return names.index(str(self.masked[layer]))


class MainStream:
    """Adds to every self-attention's output of the main stream what its task attention gives.

    Args:
        features: Of the auxiliary stream for the same images.
        tasks: Main tasks of the batch: all samples of the first task, then all of the second, ...
        layers: The task attention of every layer.
        exclude_main_task: A task does not attend to its own auxiliary feature.
        masking: Task masking (training).
        last: The features are not asked for again afterwards: they are let go on the way.
    """

    def __init__(
        self,
        features: AuxiliaryFeatures,
        tasks: Sequence[str],
        layers: nn.ModuleDict,
        exclude_main_task: bool = True,
        masking: TaskMasking | None = None,
        last: bool = False,
    ) -> None:
        self.features, self.tasks, self.layers = features, list(tasks), layers
        self.exclude_main_task, self.masking, self.last = exclude_main_task, masking, last

    def __call__(self, layer: str, a: Tensor) -> Tensor:
        if layer not in self.layers or layer not in self.features:
            return a
        attention = self.layers[layer]
        names, key, value = self.features.sources(layer, attention, self.last)
        draw = None
        if self.masking is not None and self.masking.wanted(layer):
            masking = self.masking

            def draw(scores: Tensor) -> int:
                return masking.choose(layer, names, scores)

        parts = []
        for task, part in zip(self.tasks, a.unflatten(0, (len(self.tasks), -1)).unbind(0)):
            masked = [names.index(task)] if self.exclude_main_task and task in names else []
            parts.append(part + attention(part, task, key, value, masked=masked, draw=draw))
        return torch.cat(parts) if len(parts) > 1 else parts[0]
