"""Segmentation: mean intersection over union."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mmmtl.errors import ConfigError
from mmmtl.evaluation.functional.segmentation import class_accuracy, confusion_matrix, mean_iou, pixel_accuracy
from mmmtl.registry import METRICS

from .base import State, TaskMetric


@METRICS.register_module()
class MeanIoU(TaskMetric):
    """Mean IoU over classes from one confusion matrix over the dataset, as a fraction; also mean class
    accuracy (mAcc) and pixel accuracy (aAcc).

    Protocols, which agree once every class occurs:
        ``clean``: a class neither labelled nor predicted anywhere is left out of the mean.
        ``upstream``: it counts as 0 (TaskDiffusion, DiffusionMTL).

    Args:
        num_classes: Number of classes, background included.
        classes: Their names, for reports.
        protocol: See above.
        image_list: Sample ids to measure, or a file with one per line; default: all.
    """

    protocols = ('clean', 'upstream')
    greater_is_better = {'mIoU': True, 'mAcc': True, 'aAcc': True}

    def __init__(
        self,
        num_classes: int,
        classes: Sequence[str] | None = None,
        protocol: str | None = None,
        image_list: str | Sequence[str] | None = None,
    ) -> None:
        super().__init__(protocol, image_list)
        self.num_classes = num_classes
        self.classes = list(classes) if classes is not None else [str(i) for i in range(num_classes)]
        if len(self.classes) != num_classes:
            raise ConfigError(f'MeanIoU: {len(self.classes)} names for num_classes={num_classes}')

    def measure(self, pred: np.ndarray, gt: np.ndarray) -> State:
        return dict(confusion=confusion_matrix(pred, gt, self.num_classes))

    def compute(self, total: State) -> dict[str, float]:
        confusion = total['confusion']
        if not confusion.any():
            return {}
        absent = 'zero' if self.protocol == 'upstream' else 'skip'
        return self.named(
            {
                'mIoU': mean_iou(confusion, absent),
                'mAcc': float(np.nanmean(class_accuracy(confusion))),
                'aAcc': pixel_accuracy(confusion),
            }
        )
