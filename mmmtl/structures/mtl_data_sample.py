"""One image's labels and predictions for any set of tasks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import numpy as np
import torch
from mmengine.structures import BaseDataElement, PixelData

Map = TypeVar('Map', np.ndarray, torch.Tensor)


def with_axis(value: Map) -> Map:
    """A map as (C, H, W): class maps (H, W) get the leading axis that ``PixelData`` demands."""
    return value[None] if value.ndim == 2 else value


def without_axis(value: Map) -> Map:
    """A map in the form of a label: class maps (1, H, W) of integers lose the axis of :func:`with_axis`."""
    whole = value.dtype.kind in 'iu' if isinstance(value, np.ndarray) else not value.dtype.is_floating_point
    return value[0] if whole and value.ndim == 3 and len(value) == 1 else value


def plain_map(value: np.ndarray | torch.Tensor) -> np.ndarray:
    """A map of a sample as numpy, in the form of a label: categorical maps (H, W), continuous ones (C, H, W)."""
    return without_axis(value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value))


def smallest_integers(value: np.ndarray) -> np.ndarray:
    """A class map in uint8, which holds every class and 255 for unknown; other maps as they are."""
    fits = value.dtype.kind in 'iu' and value.size and value.min() >= 0 and value.max() <= 255
    return value.astype(np.uint8) if fits else value


class MTLDataSample(BaseDataElement):
    """Labels (``gt``) and predictions (``pred``) of one image, each a ``PixelData`` with one field per task.

    A task without a label has no field in ``gt``: absence, never a zero map. Categorical maps are int64 (1, H, W) with
    255 = invalid, continuous maps float32 (C, H, W) with NaN = invalid.

    Metainfo: ``sample_id`` (stable, unique in the dataset), ``img_path``, ``ori_shape`` (H, W), ``img_shape`` (H, W) of
    the network's input with padding, ``padding`` (left, right, top, bottom), ``scale_factor`` (w, h), ``flip``,
    ``labeled_tasks``, ``photograph`` (``upright`` and ``white`` of ``read_image``, where the data set was told them).
    """

    @property
    def gt(self) -> PixelData:
        return self._gt

    @gt.setter
    def gt(self, value: PixelData | Mapping) -> None:
        self._set_maps('_gt', value)

    @gt.deleter
    def gt(self) -> None:
        del self._gt

    @property
    def pred(self) -> PixelData:
        return self._pred

    @pred.setter
    def pred(self, value: PixelData | Mapping) -> None:
        self._set_maps('_pred', value)

    @pred.deleter
    def pred(self) -> None:
        del self._pred

    def _set_maps(self, name: str, value: PixelData | Mapping) -> None:
        if not isinstance(value, PixelData):
            value = PixelData(**{task: with_axis(torch.as_tensor(label)) for task, label in value.items()})
        self.set_field(value, name, dtype=PixelData)
