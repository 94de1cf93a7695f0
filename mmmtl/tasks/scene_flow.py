"""Scene flow: how every visible point moves in space from this frame to the next."""

from __future__ import annotations

import numpy as np

from mmmtl.registry import TASKS

from .base import Legend
from .continuous import VectorTask, as_channels, rgb_picture


@TASKS.register_module()
class SceneFlow(VectorTask):
    """Motion in metres in the camera's axes. Label: float32 (3, H, W), x right, y down, z forward, NaN where unknown.

    Raw output and prediction: metres.
    """

    default_name = 'scene_flow'
    channels = 3
    frames = 2
    unit = 'm'
    primary_metric = 'EPE'

    def zoom(self, label: np.ndarray, factor: float) -> np.ndarray:
        return label / np.float32(factor)

    def default_metric(self) -> dict:
        return dict(type='EndPointError')

    def picture_range(self, label: np.ndarray, reference: np.ndarray | None) -> tuple[float, float]:
        size = np.abs(as_channels(label if reference is None else reference))
        known = size[np.isfinite(size)]
        high = max(float(np.quantile(known, 0.98)), 1e-4) if known.size else 1.0
        return -high, high

    def colorize(self, label: np.ndarray, reference: np.ndarray | None = None) -> np.ndarray:
        return rgb_picture((as_channels(label) / self.picture_range(label, reference)[1] + 1) / 2)

    def legend(self, label: np.ndarray, reference: np.ndarray | None = None) -> Legend:
        return Legend(
            unit=f'R right · G down · B away, full = ±{self.picture_range(label, reference)[1]:.3g} {self.unit}'
        )
