"""Boundaries: F-measure after one-to-one matching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmmtl.registry import METRICS

from ..functional.boundary.counts import average_precision, best_f
from ..functional.boundary.evaluate import image_counts, protocol_settings
from .base import State, TaskMetric

__all__ = ['BoundaryMeasure']


@METRICS.register_module()
class BoundaryMeasure(TaskMetric):
    """Boundary F-measure at the dataset's best threshold (odsF), at each image's own (oisF), and average
    precision (AP).

    Args:
        max_dist: Largest distance of a matched pair, as a share of the image's diagonal (PASCAL-Context
            0.0075, NYUDv2 0.011).
        protocol: ``atrc`` (default), ``mti`` or ``bsds``; see
            :mod:`mmmtl.evaluation.functional.boundary.evaluate`.
        thresholds: Default: the protocol's.
        nms: Thin the prediction by non-maximum suppression; default: the protocol's.
    """

    protocols = ('atrc', 'mti', 'bsds')
    directions = {'odsF': True, 'oisF': True, 'AP': True}
    slow = True

    def __init__(self, max_dist: float = 0.0075, protocol: str | None = None, thresholds: Sequence[float] | None = None,
                 nms: bool | None = None) -> None:  # fmt: skip
        super().__init__(protocol)
        self.settings = protocol_settings(self.protocol, max_dist=max_dist, thresholds=thresholds, nms=nms)

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        probability = np.where(gt == 255, 0, np.asarray(pred).reshape(gt.shape))
        if not (gt != 255).any():
            zero = np.zeros((4, len(self.settings.thresholds)), np.int64)
            return dict(images=np.int64(0), counts=zero, best=zero[:, 0])
        counts = image_counts(probability, [gt == 1], self.settings)
        return dict(images=np.int64(1), counts=counts, best=counts[:, best_f(counts)[0]])

    def compute(self, total: State) -> dict[str, float]:
        if not int(total['images']):
            return {}
        return self.named({
            'odsF': best_f(total['counts'], self.settings.interpolate)[1],
            'oisF': best_f(total['best'][:, None])[1],
            'AP': average_precision(total['counts']),
        })  # fmt: skip
