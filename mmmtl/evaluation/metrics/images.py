"""Albedo and shading: errors between image-like maps."""

from __future__ import annotations

import numpy as np

from mmmtl.evaluation.functional.alignment import fit_scale
from mmmtl.evaluation.functional.images import image_rmse, local_mse, structural_similarity
from mmmtl.registry import METRICS

from .base import State, TaskMetric, expect_channels, image_mean, image_state, valid_pixels


@METRICS.register_module()
class ImageError(TaskMetric):
    """Errors of maps in [0, 1].

    Protocols:
        ``clean``: RMSE and absErr over all valid pixels and channels of the dataset.
        ``upstream``: one scale per image fitted by least squares, clipped to [0, 1]; RMSE whose sum over
        channels is divided by the number of *pixels* (√3 × larger for colour), structural similarity (SSIM)
        and local mean square error (LMSE); mean over images (StableMTL).

    Args:
        protocol: See above.
        image_list: Sample ids to measure, or a file with one per line; default: all.
    """

    protocols = ('clean', 'upstream')

    @classmethod
    def plain_metrics(cls, protocol: str) -> dict[str, bool]:
        if protocol == 'clean':
            return {'RMSE': False, 'absErr': False}
        return {'RMSE': False, 'SSIM': True, 'LMSE': False}

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        expect_channels(self, gt, 1)
        valid = valid_pixels(gt)
        if self.protocol == 'upstream':
            return image_state(('RMSE', 'SSIM', 'LMSE'), self._aligned(pred, gt, valid) if valid.any() else {})
        error = pred[:, valid].astype(np.float64) - gt[:, valid]
        return dict(count=np.int64(error.size), sums=np.array([(error * error).sum(), np.abs(error).sum()]))

    @staticmethod
    def _aligned(pred: np.ndarray, gt: np.ndarray, valid: np.ndarray) -> dict[str, float]:
        value = np.clip(pred.astype(np.float64) * fit_scale(pred[:, valid], gt[:, valid]), 0.0, 1.0)
        known = np.where(valid, gt, 0.0)
        return {
            'RMSE': image_rmse(value, known, valid),
            'SSIM': structural_similarity(value, known),
            'LMSE': local_mse(value, known, valid),
        }

    def compute(self, total: State) -> dict[str, float]:
        if self.protocol == 'upstream':
            return self.named(image_mean(('RMSE', 'SSIM', 'LMSE'), total))
        count = int(total['count'])
        if not count:
            return {}
        square, absolute = total['sums'] / count
        return {'RMSE': float(np.sqrt(square)), 'absErr': float(absolute)}
