"""One image's labels and predictions for any set of tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from mmengine.structures import BaseDataElement, PixelData


def _as_map(value: np.ndarray | torch.Tensor) -> torch.Tensor:
    """A map as (C, H, W): categorical (H, W) maps get a leading axis, which ``PixelData`` demands."""
    tensor = torch.as_tensor(value)
    return tensor[None] if tensor.ndim == 2 else tensor


def plain_map(value: np.ndarray | torch.Tensor) -> np.ndarray:
    """A map of a sample as numpy, in the form of a label: categorical maps (H, W), continuous ones (C, H, W)."""
    array = value.detach().cpu().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
    return array[0] if np.issubdtype(array.dtype, np.integer) and array.ndim == 3 else array


class MTLDataSample(BaseDataElement):
    """Labels (``gt``) and predictions (``pred``) of one image, each a ``PixelData`` with one field per task.

    A task without a label has no field in ``gt``: absence, never a zero map. Categorical maps are int64 (1, H, W) with
    255 = invalid, continuous maps float32 (C, H, W) with NaN = invalid.

    Metainfo: ``sample_id`` (stable, unique in the dataset), ``img_path``, ``ori_shape`` (H, W), ``img_shape`` (H, W) of
    the network's input with padding, ``padding`` (left, right, top, bottom), ``scale_factor`` (w, h), ``flip``,
    ``labeled_tasks``.
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
            value = PixelData(**{task: _as_map(label) for task, label in value.items()})
        self.set_field(value, name, dtype=PixelData)
