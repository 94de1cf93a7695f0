"""Saliency: F-measure, S-measure, E-measure and mean absolute error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.saliency import (
    BETA_SQUARED,
    THRESHOLDS,
    adaptive_f,
    adaptive_map,
    level_counts,
    max_f,
    mean_absolute_error,
    stretch,
    threshold_counts,
    toolkit_f_curve,
)
from mmmtl.evaluation.functional.saliency_structure import e_measure, s_measure, weighted_f
from mmmtl.registry import METRICS
from mmmtl.utils.labels import IGNORE

from .base import State, TaskMetric, expect_probability

SUMS = ('adpF', 'wF', 'Sm', 'adpE', 'MAE')
"""Metrics of the toolkit protocol that are averaged over images as they are."""


@METRICS.register_module()
class SaliencyMeasure(TaskMetric):
    """Saliency F-measure with β² = 0.3, as a fraction, and what the saliency benchmarks report beside it.

    Protocols:
        ``clean``: 19 thresholds, precision and recall from counts over the dataset, largest F (maxF).
        ``upstream``: the same after a second sigmoid on the probability, counted in float32, as DiffusionMTL, InvPT and
        TaskPrompter do it. Past 2^24 such a counter rounds, so its last digits depend on the order of images; here they
        are added one by one in the order of their sample ids.
        ``toolkit``: as the saliency benchmarks do it. Every map is stretched to [0, 1]; F and E at 256 integer
        thresholds are averaged over images, and of these curves the largest and the mean number are taken (maxF, meanF,
        maxE, meanE); F and E at twice the mean of the map (adpF, adpE), weighted F (wF), S-measure (Sm) and mean
        absolute error (MAE) are averaged over images.

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
        if not thresholds or not all(0 < t <= 1 for t in thresholds):
            raise ConfigError(f'SaliencyMeasure: thresholds must lie in (0, 1] and there must be one, got {thresholds}')
        self.ordered = self.protocol == 'upstream'

    @classmethod
    def plain_metrics(cls, protocol: str) -> dict[str, bool]:
        if protocol != 'toolkit':
            return {'maxF': True}
        names = ('maxF', 'meanF', 'adpF', 'wF', 'Sm', 'maxE', 'meanE', 'adpE')
        return {**dict.fromkeys(names, True), 'MAE': False}

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        expect_probability(self, pred, gt)
        known = gt != IGNORE
        if self.protocol != 'toolkit':
            counts = threshold_counts(pred, gt, self.thresholds, self.protocol == 'upstream')
            return dict(counts=counts, pixels=np.int64(np.count_nonzero(known)))
        nothing = dict(curve=np.zeros(256), e_curve=np.zeros(256), sums=np.zeros(len(SUMS)))
        if not known.any():
            return dict(nothing, images=np.int64(0))
        whole, salient = pred.reshape(gt.shape), gt == 1
        if np.isnan(whole[known]).any():  # a diverged network finds nothing, and has no error or likeness
            lost = np.array([0.0, 0.0, np.nan, np.nan, np.nan])
            return dict(nothing, images=np.int64(1), e_curve=np.full(256, np.nan), sums=lost)
        value, label = stretch(whole[known]), salient[known]
        stretched = np.zeros(gt.shape)
        stretched[known] = value
        chosen, count = adaptive_map(value), (int(label.sum()), label.size)
        measured = [
            adaptive_f(value, label),
            weighted_f(stretched, salient, known),
            s_measure(stretched, salient, known),
            float(e_measure(np.count_nonzero(chosen & label), np.count_nonzero(chosen), *count)),
            mean_absolute_error(value, label),
        ]
        return dict(
            images=np.int64(1),
            curve=toolkit_f_curve(value, label),
            e_curve=e_measure(*level_counts(value, label), *count),
            sums=np.array(measured),
        )

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
            f_curve, e_curve = total['curve'] / images, total['e_curve'] / images
            found = dict(zip(SUMS, total['sums'] / images))
            found.update(maxF=f_curve.max(), meanF=f_curve.mean(), maxE=e_curve.max(), meanE=e_curve.mean())
            return self.named({name: found[name] for name in self.plain_metrics('toolkit')})
        return self.named({'maxF': max_f(total['counts'], BETA_SQUARED)}) if int(total['pixels']) else {}
