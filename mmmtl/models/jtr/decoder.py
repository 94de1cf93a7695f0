"""Joint-task regularisation: labels and predictions of all tasks together must look alike to an autoencoder.

Nishi, Kim, Li and Pfister, "Joint-Task Regularization for Partially Labeled Multi-Task Learning", CVPR 2024.

==============  =========================================================================  ====================
here            paper                                                                      shape
==============  =========================================================================  ====================
``values``      predictions, y-hat; those of labelled tasks are held constant              (B, C_t, H, W)
``truth``       Y_t, the stack of the labels, and of predictions where there is no label   (B, K, H, W)
``guess``       Y-hat, the stack of the predictions alone                                  (B, K, H, W)
``network``     g, the autoencoder of stacks                                               see ``StackAutoencoder``
==============  =========================================================================  ====================

B images, K the sum of the tasks' channels C_t.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from mmmtl.errors import ConfigError, InputError, suggest
from mmmtl.models.decoder import Targets
from mmmtl.models.regularizer import LabelRegularizer, targets_of_view
from mmmtl.ops.norm_act import frozen_statistics
from mmmtl.ops.precision import to_float32
from mmmtl.registry import MODELS

from .autoencoder import StackAutoencoder
from .channels import Channels, channels_of


@dataclass
class View:
    """One view of the images of a batch.

    Attributes:
        values: Predictions ``{task: (B, C, H, W)}``, without gradient where the task is labelled.
        labels: Labels ``{task: (B, ...)}`` of the tasks that any image has; what lies at the others is not read.
        labelled: ``{task: (B, 1, 1, 1)}``: which images have the label.
        mask: (B, 1, H, W), 1 where all labels of the image are known.
    """

    values: dict[str, Tensor]
    labels: dict[str, Tensor]
    labelled: dict[str, Tensor]
    mask: Tensor


@MODELS.register_module()
class JTR(LabelRegularizer):
    """Any decoder, trained with joint-task regularisation besides its own losses; in prediction it is that decoder.

    Per image, with g's deepest map e and cosines averaged over positions:

    * ``loss_distance`` = ``weight`` · (D1 + ``second_weight`` · D2). D1 = 1 - cos(e(Y1), e(Y-hat1)) on the first crop
      teaches the decoder, through its predictions of tasks without a label; g is held constant. D2, the same on the
      second crop, teaches g alone.
    * ``loss_reconstruction`` = ``reconstruction_weight`` · (distance of g(Y2) from the labels, and of g(Y-hat2) from the
      predictions): teaches g alone.

    Noise names, uniform draws for tasks with several classes: ``gumbel.<task>.guess1`` and ``gumbel.<task>.target2``
    for all images, ``gumbel.<task>.truth1``, ``.truth2`` and ``.label2`` for those without the label.

    Args:
        tasks, in_channels, strides, decoder, neck: See :class:`~mmmtl.models.regularizer.LabelRegularizer`.
        weight: Factor of D1 and D2.
        reconstruction_weight: Factor of the reconstruction.
        second_weight: Factor of D2 against D1. None: as published, ``reconstruction_weight`` once more; 1 with
            ``faithful=False``.
        views: 3: the batch holds two crops of its images behind them, for the regularisation. 2: one crop serves for
            both. 1: so do the images themselves.
        filters: Channels of g's levels.
        statistics: ``{task: (mean, standard deviation)}`` of tasks of numbers, see
            :func:`~mmmtl.models.jtr.channels.channels_of`.
        faithful: Reconstructions of predictions are encoded twice and divided by the number of elements that are not
            0, as in the published program; False: encoded once, and averaged over the pixels that count.

    Raises:
        ConfigError: A single task; statistics of another task; another number of views.
    """

    aux_modules = ('network',)

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        decoder: Mapping[str, Any],
        neck: Mapping[str, Any] | None = None,
        weight: float = 4.0,
        reconstruction_weight: float = 2.0,
        second_weight: float | None = None,
        views: int = 3,
        filters: Sequence[int] = (64, 128, 256, 512, 512),
        statistics: Mapping[str, Sequence[float]] | None = None,
        faithful: bool = True,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, decoder, neck, views, init_cfg)
        if views not in (1, 2, 3):
            raise ConfigError(f'JTR: views must be 1, 2 or 3, got {views}')
        self.weight, self.reconstruction_weight = weight, reconstruction_weight
        self.second_weight = (reconstruction_weight if faithful else 1.0) if second_weight is None else second_weight
        numbers = [n for n, t in self.tasks.items() if not (t.categorical or t.unit_length)]  # type: ignore[attr-defined]
        for name in statistics or {}:
            if name not in numbers:
                raise ConfigError(f"JTR: statistics of '{name}', no task of numbers.{suggest(name, numbers)}")
        self.channels: dict[str, Channels] = {
            n: channels_of(t, faithful, (statistics or {}).get(n)) for n, t in self.tasks.items()
        }
        self.network = StackAutoencoder(sum(t.out_channels for t in self.tasks.values()), filters)
        self.size_multiple = 32  # five poolings

    def loss(self, feats: Sequence[Tensor], targets: Targets, noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """The decoder's losses, ``loss_distance`` and ``loss_reconstruction``.

        Raises:
            InputError: Sides that are no multiples of 32.
        """
        if size[0] % 32 or size[1] % 32:
            raise InputError(f'JTR pools labels five times: sides must be multiples of 32, got {size[0]}x{size[1]}')
        count = self.images_of(feats)
        first = targets_of_view(targets, 0, count)
        losses, raw = self.decoder.loss_and_maps(self.inner_feats(feats), first, noise, size, batch=count)
        one, two = (self._view(raw, targets, min(v, self.views - 1), count, size) for v in (1, 2))
        host = self._distance_of_guesses(one, noise)
        own, reconstruction = self._autoencoder_losses(two, noise)
        losses['loss_distance'] = self.weight * (host + self.second_weight * own).mean()
        losses['loss_reconstruction'] = self.reconstruction_weight * reconstruction.mean()
        return losses

    def _view(self, raw: Mapping[str, Tensor], targets: Targets, view: int, count: int, size: tuple[int, int]) -> View:
        """Predictions and labels of one view."""
        like = to_float32(next(iter(raw.values())))
        found = View({}, {}, {}, like.new_ones(count, 1, *size))
        given = targets_of_view(targets, view, count)
        for name, task in self.tasks.items():
            maps = to_float32(raw[name][view * count : (view + 1) * count])
            value = self.channels[name].value(F.interpolate(maps, size, mode='bilinear', align_corners=False))
            labelled = torch.zeros(count, 1, 1, 1, dtype=torch.bool, device=like.device)
            if name in given:
                index, label = given[name]
                labelled[index] = True
                full = label.new_zeros(count, *label.shape[1:])
                full[index] = label
                found.labels[name] = full
                value = torch.where(labelled, value.detach(), value)
                valid: Any = task.valid(full)
                known = valid.view(count, 1, *size) | ~labelled
                found.mask = found.mask * known
            found.values[name], found.labelled[name] = value, labelled
        return found

    def _draw(self, noise: Any, name: str, role: str, view: View, unlabelled: bool = False) -> Callable[[], Tensor]:
        """Uniform draws for a task's sampling, of all images or of those without its label."""
        value = view.values[name]

        def draw() -> Tensor:
            key = f'gumbel.{name}.{role}'
            if not unlabelled or name not in view.labels:
                return noise.uniform(key, tuple(value.shape), 0.0, 1.0, like=value)
            draws = torch.full_like(value, 0.5)
            index = (~view.labelled[name]).flatten().nonzero().flatten()
            if len(index):
                draws[index] = noise.uniform(key, (len(index), *value.shape[1:]), 0.0, 1.0, like=value, index=index)
            return draws

        return draw

    def _truth(self, view: View, noise: Any, role: str) -> Tensor:
        """The stack of the labels, and of predictions where there is no label."""
        parts = []
        for name, channels in self.channels.items():
            draw = self._draw(noise, name, role, view, unlabelled=True)
            part = channels.of_prediction(view.values[name], view.mask, draw)
            if name in view.labels:
                part = torch.where(view.labelled[name], channels.of_label(view.labels[name]).to(part), part)
            parts.append(part)
        return torch.cat(parts, 1)

    def _distance_of_guesses(self, view: View, noise: Any) -> Tensor:
        """D1 (B,), with a gradient for the predictions and none for g."""
        guess = torch.cat(
            [
                channels.of_prediction(view.values[n], view.mask, self._draw(noise, n, 'guess1', view))
                for n, channels in self.channels.items()
            ],
            1,
        )
        rows = torch.cat((self._truth(view, noise, 'truth1'), guess))
        constant = {name: p.detach() for name, p in self.network.named_parameters()}
        with frozen_statistics():
            joint, _ = functional_call(self.network, constant, (rows, False))
        return 1 - mean_cosine(*joint.chunk(2))

    def _autoencoder_losses(self, view: View, noise: Any) -> tuple[Tensor, Tensor]:
        """D2 and the distance of the reconstructions, each (B,), with gradients for g alone."""
        with torch.no_grad():
            truth = self._truth(view, noise, 'truth2')
            guess = torch.cat(
                [
                    channels.of_prediction_soft(view.values[n], view.mask, self._draw(noise, n, 'guess2', view))
                    for n, channels in self.channels.items()
                ],
                1,
            )
        # image by image, the truth first: the order in which running statistics see the rows
        joint, again = self.network(torch.stack((truth, guess), 1).flatten(0, 1))
        distance = 1 - mean_cosine(joint[0::2], joint[1::2])
        start, reconstruction = 0, torch.zeros_like(distance)
        for name, channels in self.channels.items():
            stop = start + self.tasks[name].out_channels
            for rows, target in zip((again[0::2], again[1::2]), self._targets(view, name, noise)):
                reconstruction = reconstruction + channels.distance(to_float32(rows[:, start:stop]), target, view.mask)
            start = stop
        return distance, reconstruction

    @torch.no_grad()
    def _targets(self, view: View, name: str, noise: Any) -> tuple[Tensor, Tensor]:
        """What the reconstructions of a task in the two stacks are held against."""
        channels, value = self.channels[name], view.values[name].detach()
        draw = self._draw(noise, name, 'label2', view, unlabelled=True)
        target = channels.target_of_prediction(value, view.mask, draw)
        if name in view.labels:
            label = channels.target_of_label(view.labels[name]).to(target)
            target = torch.where(view.labelled[name], label, target)
        return target, channels.target_of_itself(value, view.mask, self._draw(noise, name, 'target2', view))


def mean_cosine(a: Tensor, b: Tensor) -> Tensor:
    """(B, F, h, w) twice → (B,): the cosine over channels, averaged over positions."""
    a, b = (F.normalize(to_float32(x), dim=1, eps=1e-12) for x in (a, b))
    return (a * b).sum(1).mean((1, 2))
