"""Surface normals: angular error."""

from __future__ import annotations

import numpy as np

from mmmtl.evaluation.functional.vectors import ANGLE_BINS, LIMITS, angle_sums, histogram_quantile
from mmmtl.registry import METRICS

from .base import State, TaskMetric, expect_channels, image_mean, image_state, valid_pixels

WITHIN = tuple(f'within{int(limit)}' for limit in LIMITS)


@METRICS.register_module()
class NormalsError(TaskMetric):
    """Angle between predicted and true normals in degrees: mean (mErr), median (to 0.01°), root mean square
    (rmsErr) and the share of pixels under 5°, 7.5°, 11.25°, 22.5° and 30°.

    Protocols:
        ``clean``: over all valid pixels of the dataset (TaskDiffusion, DiffusionMTL).
        ``upstream``: the mean over images of the image's mean (StableMTL).

    Args:
        protocol: See above.
        image_list: Sample ids to measure, or a file with one per line; default: all.
    """

    protocols = ('clean', 'upstream')
    bulky = ('histogram',)
    greater_is_better = {'mErr': False, 'median': False, 'rmsErr': False, **dict.fromkeys(WITHIN, True)}

    @classmethod
    def plain_metrics(cls, protocol: str) -> dict[str, bool]:
        return {'mErr': False} if protocol == 'upstream' else cls.greater_is_better

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        expect_channels(self, gt, 2)
        valid = valid_pixels(gt)
        state = angle_sums(pred[:, valid], gt[:, valid])
        if self.protocol == 'clean':
            return state
        count = int(state['count'])
        return image_state(['mErr'], {'mErr': state['sums'][0] / count} if count else {})

    def compute(self, total: State) -> dict[str, float]:
        if self.protocol == 'upstream':
            return self.named(image_mean(['mErr'], total))
        count = int(total['count'])
        if not count:
            return {}
        mean, square = total['sums'] / count
        found = {'mErr': mean}
        if 'histogram' in total:
            whole = total['histogram'].sum() == count  # angles that are no numbers are in no bin
            found['median'] = histogram_quantile(total['histogram'], 0.5, 180.0 / ANGLE_BINS) if whole else np.nan
        found['rmsErr'] = np.sqrt(square)
        return self.named({**found, **dict(zip(WITHIN, total['within'] / count))})
