"""Saliency: maximal F-measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mmmtl.evaluation.functional.saliency import (
    BETA_SQUARED,
    THRESHOLDS,
    adaptive_f,
    max_f,
    mean_absolute_error,
    stretch,
    threshold_counts,
    toolkit_f_curve,
)
from mmmtl.registry import METRICS
from mmmtl.utils.labels import IGNORE

from .base import State, TaskMetric


@METRICS.register_module()
class SaliencyMeasure(TaskMetric):
    """Saliency F-measure with β² = 0.3, as a fraction.

    Protocols:
        ``clean``: 19 thresholds, precision and recall from counts over the dataset, largest F (maxF).
        ``upstream``: the same after a second sigmoid on the probability, counted in float32, as the meters of
        DiffusionMTL, InvPT and TaskPrompter do it. Past 2^24 such a counter rounds, so its last digits depend
        on the order of images; here they are added one by one in the order of their sample ids.
        ``toolkit``: the saliency benchmarks' convention: every map stretched to [0, 1], 256 integer
        thresholds, F averaged over images before the maximum (maxF), F at twice the mean (adpF), mean
        absolute error (MAE).

    Args:
        thresholds: Ascending thresholds of the first two protocols; default 0.05, 0.10, .. 0.95.
        protocol: See above.
        image_list: Sample ids to measure, or a file with one per line; default: all.
    """

    protocols = ('clean', 'upstream', 'toolkit')

    def __init__(
        self,
        thresholds: Sequence[float] = THRESHOLDS,
        protocol: str | None = None,
        image_list: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(protocol, image_list)
        self.thresholds = tuple(sorted(thresholds))
        self.ordered = self.protocol == 'upstream'

    @classmethod
    def plain_metrics(cls, protocol: str) -> dict[str, bool]:
        return {'maxF': True, 'adpF': True, 'MAE': False} if protocol == 'toolkit' else {'maxF': True}

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        known = gt != IGNORE
        if self.protocol != 'toolkit':
            counts = threshold_counts(pred, gt, self.thresholds, self.protocol == 'upstream')
            return dict(counts=counts, pixels=np.int64(np.count_nonzero(known)))
        if not known.any():
            return dict(images=np.int64(0), curve=np.zeros(256), sums=np.zeros(2))
        value, salient = pred.reshape(gt.shape)[known], gt[known] == 1
        if np.isnan(value).any():  # a diverged network finds nothing, and its error is not a number
            return dict(images=np.int64(1), curve=np.zeros(256), sums=np.array([0.0, np.nan]))
        value = stretch(value)
        sums = np.array([adaptive_f(value, salient), mean_absolute_error(value, salient)])
        return dict(images=np.int64(1), curve=toolkit_f_curve(value, salient), sums=sums)

    def accumulate(self, states: Iterable[State]) -> State:
        counts, pixels = np.zeros((3, len(self.thresholds)), np.float32), np.int64(0)
        for state in states:
            counts = counts + state['counts'].astype(np.float32)
            pixels += state['pixels']
        return dict(counts=counts, pixels=pixels)

    def compute(self, total: State) -> dict[str, float]:
        if self.protocol == 'toolkit':
            images = int(total['images'])
            if not images:
                return {}
            adaptive, error = total['sums'] / images
            return self.named({'maxF': (total['curve'] / images).max(), 'adpF': adaptive, 'MAE': error})
        return self.named({'maxF': max_f(total['counts'], BETA_SQUARED)}) if int(total['pixels']) else {}
