"""A loss on top of a decoder that works with images without all their labels: what such regularisers share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mmmtl.errors import ConfigError
from mmmtl.registry import MODELS

from .decoder import Decoder, Targets


class LabelRegularizer(Decoder):
    """Any decoder with a loss on top; in prediction it is that decoder.

    Args:
        tasks, in_channels, strides: See :class:`~mmmtl.models.decoder.Decoder`.
        decoder: Config of the decoder; tasks, channels and strides are filled in.
        neck: Config of a neck between the backbone and ``decoder``.
        views: How many views of its images a batch holds, one after another (see
            :class:`~mmmtl.models.cropped_views.CroppedViews`).

    Raises:
        ConfigError: A single task: there is nothing to compare it with.
    """

    def __init__(
        self,
        tasks: Mapping[str, Any],
        in_channels: Sequence[int],
        strides: Sequence[int],
        decoder: Mapping[str, Any],
        neck: Mapping[str, Any] | None = None,
        views: int = 1,
        init_cfg: dict | None = None,
    ) -> None:
        super().__init__(tasks, in_channels, strides, init_cfg)
        if len(self.tasks) < 2:
            raise ConfigError(f'{type(self).__name__} compares tasks and needs at least two, got {list(self.tasks)}')
        self.views = views
        shape = dict(in_channels=self.in_channels, strides=self.strides)
        self.neck = None
        if neck is not None:
            self.neck = MODELS.build({**shape, **neck})
            shape = dict(in_channels=self.neck.out_channels, strides=self.neck.strides)
        self.decoder: Decoder = MODELS.build({'tasks': self.tasks, **shape, **decoder})

    def inner_feats(self, feats: Sequence[Tensor]) -> Sequence[Tensor]:
        """What the decoder gets: the backbone's levels after the neck."""
        return feats if self.neck is None else self.neck(feats)

    def predict(self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        return self.decoder.predict(self.inner_feats(feats), noise, size)

    def predict_tasks(
        self, feats: Sequence[Tensor], noise: Any, size: tuple[int, int], tasks: Sequence[str]
    ) -> dict[str, Tensor]:
        return self.decoder.predict_tasks(self.inner_feats(feats), noise, size, tasks)

    def images_of(self, feats: Sequence[Tensor]) -> int:
        """How many images a batch of views is of.

        Raises:
            ConfigError: The batch does not hold the views it should.
        """
        count, rest = divmod(len(feats[0]), self.views)
        if rest:
            raise ConfigError(
                f'{type(self).__name__} with {self.views} views needs a batch of a multiple of {self.views}, got '
                f"{len(feats[0])}: use data_preprocessor=dict(type='CroppedViews', views={self.views}, ...)"
            )
        return count


def targets_of_view(targets: Targets, view: int, count: int) -> dict[str, tuple[Tensor, Tensor]]:
    """Labels of the ``view``-th run of ``count`` images, with their places in it; tasks without any are left out."""
    chosen = {}
    for name, (index, label) in targets.items():
        inside = torch.div(index, count, rounding_mode='floor') == view
        if bool(inside.any()):
            chosen[name] = (index[inside] - view * count, label[inside])
    return chosen
