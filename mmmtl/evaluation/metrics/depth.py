"""Depth: metric errors, or errors after alignment."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.alignment import fit_scale, fit_scale_shift
from mmmtl.evaluation.functional.depth import DEPTH_FLOOR, depth_metrics, depth_sums
from mmmtl.registry import METRICS

from .base import State, TaskMetric, expect_channels, image_mean, image_state

DISPARITY_FLOOR = 1e-3
"""Metres, the least depth whose reciprocal is fitted; nearer, or negative, it would outweigh the whole image."""


@METRICS.register_module()
class DepthError(TaskMetric):
    """Errors of depth in metres; see :func:`~mmmtl.evaluation.functional.depth.depth_metrics` for each.

    Protocols:
        ``clean``: over all valid pixels of the dataset, the prediction as it is (TaskDiffusion, DiffusionMTL).
        All others align the prediction of every image with its label, clip it to [``min_depth``, ``max_depth``], and
        give the mean over images of the image's metrics:
        ``upstream``: scale s and shift t by least squares in depth, s · p + t (StableMTL).
        ``disparity``: scale and shift by least squares in disparity, 1 / (s / p + t) (MiDaS).
        ``scale``: a scale alone, by least squares, s · p.
        ``median``: a scale alone, the median of the labels over the median of the predictions.

    Args:
        min_depth: Labels at or below it are left out.
        max_depth: Labels at or beyond it are left out.
        protocol: See above.
        image_list: Sample ids to measure, or a file with one per line; default: all.
    """

    protocols = ('clean', 'upstream', 'disparity', 'scale', 'median')
    greater_is_better = {
        'RMSE': False,
        'absErr': False,
        'relErr': False,
        'sqRel': False,
        'logRMSE': False,
        'log10': False,
        'siLog': False,
        'iRMSE': False,
        'delta1': True,
        'delta2': True,
        'delta3': True,
    }

    def __init__(
        self,
        min_depth: float = 0.0,
        max_depth: float = float('inf'),
        protocol: str | None = None,
        image_list: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(protocol, image_list)
        if not 0.0 <= min_depth < max_depth:
            raise ConfigError(f'DepthError: expected 0 <= min_depth < max_depth, got {min_depth} and {max_depth}')
        if self.protocol == 'disparity' and max_depth == float('inf'):
            raise ConfigError(
                "DepthError: protocol='disparity' needs a finite max_depth, the depth of what is aligned to a disparity of "
                'zero or less; give the largest depth of the labels that count, as max_depth=80.0'
            )
        self.min_depth, self.max_depth = float(min_depth), float(max_depth)

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        expect_channels(self, gt, 1, 1)
        with np.errstate(invalid='ignore'):  # comparisons with NaN are False, as wanted
            valid = (gt[0] > self.min_depth) & (gt[0] < self.max_depth)
        if self.protocol == 'clean':
            return depth_sums(pred.ravel(), gt.ravel(), valid.ravel())
        value, truth = pred[0][valid], gt[0][valid]
        if not truth.size:
            return image_state(list(self.greater_is_better), {})
        aligned = np.clip(self._aligned(value, truth), max(self.min_depth, DEPTH_FLOOR), self.max_depth)
        return image_state(list(self.greater_is_better), depth_metrics(depth_sums(aligned, truth, floor=1e-6)))

    def _aligned(self, value: np.ndarray, truth: np.ndarray) -> np.ndarray:
        value, truth = value.astype(np.float64), truth.astype(np.float64)
        if self.protocol == 'scale':
            return fit_scale(value, truth) * value
        if self.protocol == 'median':
            middle = float(np.median(value))
            return value * (float(np.median(truth)) / middle if middle else 0.0)
        if self.protocol == 'upstream':
            scale, shift = fit_scale_shift(value, truth)
            return scale * value + shift
        disparity = 1.0 / np.maximum(value, max(self.min_depth, DISPARITY_FLOOR))
        scale, shift = fit_scale_shift(disparity, 1.0 / truth)
        return 1.0 / np.maximum(scale * disparity + shift, 1.0 / self.max_depth)

    def compute(self, total: State) -> dict[str, float]:
        return self.named(
            depth_metrics(total) if self.protocol == 'clean' else image_mean(list(self.greater_is_better), total)
        )
