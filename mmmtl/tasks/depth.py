"""Depth: how far away every visible point is."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from torch import Tensor

from mmmtl.errors import ConfigError
from mmmtl.registry import TASKS

from .continuous import ContinuousTask


@TASKS.register_module()
class Depth(ContinuousTask):
    """Metres along the optical axis. Label: float32 (1, H, W), positive, NaN where unknown.

    Raw output and prediction: metres, not negative.

    Args:
        max_depth: Farthest depth in metres: a diffusion decoder's code and its last raw map are bounded by it, labels
            beyond it are left out of the evaluation.
    """

    default_name = 'depth'
    primary_metric = 'RMSE'
    unit = 'm'
    along_axis = True
    value_range = (0.0, np.inf)
    usual_median = (1e-3, 1e3)
    zero_is_unknown = True
    colormap = cv2.COLORMAP_TURBO
    code_fill = 0.0
    image_fill = 1.0  # what no sensor and no renderer reaches mostly is far away
    code_masks_unknown = False  # published TaskDiffusion codes an unknown depth as depth 0

    def __init__(self, name: str | None = None, *, max_depth: float = 80.0, **kwargs: Any) -> None:
        super().__init__(name, **kwargs)
        self.max_depth = float(max_depth)
        if not self.max_depth > 0:
            raise ConfigError(f"task '{self.name}': max_depth must be a number of metres above 0, got {max_depth}")

    def zoom(self, label: np.ndarray, factor: float) -> np.ndarray:
        return label / np.float32(factor)

    def predict(self, logits: Tensor) -> Tensor:
        return logits.clamp_min(0)

    def bound(self, logits: Tensor) -> Tensor:
        return logits.clamp(0.0, self.max_depth)  # two floats: ONNX has no form for numbers of two kinds

    def default_regions(self) -> dict:
        return dict(type='IntervalRegions', low=0.7, high=10.0)  # as published for NYUDv2

    def default_metric(self) -> dict:
        return dict(type='DepthError', max_depth=self.max_depth)

    def picture_range(self, label: np.ndarray, reference: np.ndarray | None) -> tuple[float, float]:
        source = np.asarray(label if reference is None else reference)
        known = source[np.isfinite(source)]
        if not known.size:
            return 0.0, 1.0
        low, high = np.quantile(known, (0.01, 0.99)).tolist()
        return low, max(high, low + 1e-3)
