"""Boundaries: F-measure after one-to-one matching, and the weighted cross-entropy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.boundary.counts import average_precision, best_f, best_point
from mmmtl.evaluation.functional.boundary.evaluate import image_counts, protocol_settings
from mmmtl.evaluation.functional.boundary.labels import LABEL_KINDS, segmentation_boundary
from mmmtl.registry import METRICS
from mmmtl.utils.labels import IGNORE

from .base import State, TaskMetric, expect_probability


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
        expect_probability(self, pred, annotators if self.label == 'contours' else unknown)
        if pred.dtype.kind != 'f':  # 0 and 1; below, bytes are pictures of 0..255
            pred = pred.astype(np.float32)
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


@METRICS.register_module()
class BoundaryLoss(TaskMetric):
    """Weighted cross-entropy of boundary probabilities, mean over all known pixels of the dataset.

    With w = ``positive_weight`` and probability p of a boundary: -w · log p on boundaries, -(1 - w) · log(1 - p) elsewhere.

    Protocols:
        ``clean``: p is the predicted probability.
        ``upstream``: p is the sigmoid of the predicted probability, which the published code of TaskDiffusion takes for
        a logit once more; the boundary loss of the paper's Table 8 is of this kind.

    Args:
        positive_weight: w, between 0 and 1.
        protocol: See above.
        image_list: Sample ids to measure, or a file with one per line; default: all.
    """

    protocols = ('clean', 'upstream')
    greater_is_better = {'loss': False}

    def __init__(
        self, positive_weight: float = 0.95, protocol: str | None = None, image_list: str | Sequence[str] | None = None
    ) -> None:
        super().__init__(protocol, image_list)
        if not 0 < positive_weight < 1:
            raise ConfigError(f'BoundaryLoss: positive_weight must lie between 0 and 1, got {positive_weight}')
        self.positive_weight = positive_weight

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        expect_probability(self, pred, gt)
        probability, known, boundary = pred.reshape(gt.shape).astype(np.float64), gt != IGNORE, gt == 1
        if self.protocol == 'upstream':
            log_p, log_q = -np.logaddexp(0, -probability), -np.logaddexp(0, probability)
        else:
            # a probability of exactly 0 or 1 is what single precision has rounded; its loss is not infinite
            least = np.finfo(np.float32).tiny
            log_p, log_q = (np.log(np.maximum(p, least)) for p in (probability, 1 - probability))
        weight = self.positive_weight
        loss = -np.where(boundary, weight * log_p, (1 - weight) * log_q)[known].sum()
        return dict(pixels=np.int64(known.sum()), loss=np.float64(loss))

    def compute(self, total: State) -> dict[str, float]:
        pixels = int(total['pixels'])
        return self.named({'loss': float(total['loss']) / pixels}) if pixels else {}
