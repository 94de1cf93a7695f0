"""Optical and scene flow: end-point errors."""

from __future__ import annotations

import numpy as np

from mmmtl.evaluation.functional.alignment import fit_scales
from mmmtl.evaluation.functional.flow import flow_metrics, flow_sums
from mmmtl.registry import METRICS

from .base import State, TaskMetric, expect_channels, valid_pixels


@METRICS.register_module()
class EndPointError(TaskMetric):
    """End-point error (EPE, in the label's unit) over all valid pixels of the dataset.

    For optical flow (two channels) also Fl, the share of pixels off by more than 3 pixels and 5 %, and the
    angle in degrees between the vectors; for scene flow (three) accStrict, accRelax and outliers.

    Protocols:
        ``clean``: the prediction as it is.
        ``upstream``: after fitting one non-negative scale per channel and image by least squares (StableMTL).

    Args:
        protocol: See above.
        image_list: Sample ids to measure, or a file with one per line; default: all.
    """

    protocols = ('clean', 'upstream')
    greater_is_better = {
        'EPE': False,
        'Fl': False,
        'angle': False,
        'accStrict': True,
        'accRelax': True,
        'outliers': False,
    }

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        expect_channels(self, gt, 2, 3)
        valid = valid_pixels(gt)
        value, truth = pred[:, valid].astype(np.float64), gt[:, valid].astype(np.float64)
        if self.protocol == 'upstream' and truth.size:
            value = value * fit_scales(value, truth)[:, None]
        kind = np.zeros(4, np.int64)
        kind[len(gt)] = 1
        return dict(flow_sums(value, truth), kind=kind)

    def compute(self, total: State) -> dict[str, float]:
        return self.named(flow_metrics(total, channels=int(np.argmax(total['kind']))))
