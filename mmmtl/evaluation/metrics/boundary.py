"""Boundaries: F-measure after one-to-one matching."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.boundary.counts import average_precision, best_f, best_point
from mmmtl.evaluation.functional.boundary.evaluate import image_counts, protocol_settings
from mmmtl.evaluation.functional.boundary.labels import LABEL_KINDS, segmentation_boundary
from mmmtl.registry import METRICS
from mmmtl.utils.labels import IGNORE

from .base import State, TaskMetric


@METRICS.register_module()
class BoundaryMeasure(TaskMetric):
    """Boundary F-measure at the dataset's best threshold (odsF), at each image's own (oisF), and average
    precision (AP).

    Label: int (H, W), or (annotators, H, W); 1 = boundary, 255 = unknown (to every annotator).

    Args:
        max_dist: Largest distance of a matched pair, as a share of the image's diagonal (PASCAL-Context 0.0075,
            NYUDv2 0.011).
        protocol: ``atrc`` (default), ``mti`` or ``bsds``; see
            :mod:`mmmtl.evaluation.functional.boundary.evaluate`.
        thresholds: Default: the protocol's.
        nms: Thin the prediction by non-maximum suppression; default: the protocol's.
        label: ``contours``: the label's boundary pixels as they are; ``regions``: the boundary *of* the map,
            as the published chain reads the edge pictures of NYUDv2 (it moves their lines).
        image_list: Sample ids to measure, or a file with one per line; default: all.
    """

    protocols = ('atrc', 'mti', 'bsds')
    greater_is_better = {'odsF': True, 'oisF': True, 'AP': True}
    slow = True

    def __init__(
        self,
        max_dist: float = 0.0075,
        protocol: str | None = None,
        thresholds: Sequence[float] | None = None,
        nms: bool | None = None,
        label: str = 'contours',
        image_list: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(protocol, image_list)
        if label not in LABEL_KINDS:
            raise ConfigError(f"BoundaryMeasure: label='{label}' is not one of {', '.join(LABEL_KINDS)}")
        self.label = label
        self.settings = protocol_settings(self.protocol, max_dist=max_dist, thresholds=thresholds, nms=nms)

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        annotators = gt[None] if gt.ndim == 2 else gt
        unknown = (annotators == IGNORE).all(0)
        if unknown.all():
            zero = np.zeros((4, len(self.settings.thresholds)), np.int64)
            return dict(images=np.int64(0), counts=zero, best=zero[:, 0])
        # nothing can be found or missed where the label is unknown
        probability = np.where(unknown, pred.dtype.type(0), pred.reshape(unknown.shape))
        boundaries = [label == 1 for label in annotators]
        if self.label == 'regions':
            boundaries = [segmentation_boundary(label) & ~unknown for label in boundaries]
        counts = image_counts(probability, boundaries, self.settings)
        return dict(images=np.int64(1), counts=counts, best=counts[:, best_f(counts)[0]])

    def compute(self, total: State) -> dict[str, float]:
        if not int(total['images']):
            return {}
        return self.named(
            {
                'odsF': best_point(total['counts'], self.settings.thresholds, self.settings.interpolate)[3],
                'oisF': best_f(total['best'][:, None])[1],
                'AP': average_precision(total['counts']),
            }
        )
