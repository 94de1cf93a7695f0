"""Cross-entropies for categorical labels: int64 (n, H, W), 255 = unknown."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmmtl.errors import ConfigError
from mmmtl.registry import MODELS
from mmmtl.utils.labels import IGNORE

from .shapes import expect_classes, positive_share


def mean_over_valid(total: Tensor, count: Tensor, per_sample: bool) -> Tensor:
    """Sums and counts per sample (n,) → mean per sample (n,), or over all samples together; 0 where nothing counts."""
    if per_sample:
        return total / count.clamp_min(1)
    return total.sum() / count.sum().clamp_min(1)


@MODELS.register_module()
class CrossEntropy(nn.Module):
    """Softmax cross-entropy, mean over the known pixels (their number at least 1).

    Args:
        class_weight: A weight per class; the weighted sum is still divided by the number of known pixels.
    """

    def __init__(self, class_weight: list[float] | None = None) -> None:
        super().__init__()
        weights = [] if class_weight is None else class_weight
        if not isinstance(weights, (list, tuple)) or not all(0 <= w < float('inf') for w in weights):
            raise ConfigError(
                f'CrossEntropy: class_weight must be a list of numbers of at least 0, got {class_weight!r}'
            )
        self.class_weight = class_weight

    def forward(self, logits: Tensor, label: Tensor, per_sample: bool = False) -> Tensor:
        expect_classes(self, logits, label)
        if self.class_weight is not None and len(self.class_weight) != logits.shape[1]:
            raise ConfigError(
                f'CrossEntropy: class_weight has {len(self.class_weight)} numbers for {logits.shape[1]} classes'
            )
        weight = None if self.class_weight is None else logits.new_tensor(self.class_weight)
        pixel = F.cross_entropy(logits, label, weight=weight, ignore_index=IGNORE, reduction='none')
        return mean_over_valid(pixel.flatten(1).sum(1), (label != IGNORE).flatten(1).sum(1), per_sample)


@MODELS.register_module()
class BalancedCrossEntropy(nn.Module):
    """Two-class cross-entropy whose class weights are the shares of the other class among the known pixels.

    With w = #negative / #known of the batch (or of the sample), negatives weigh 1 - w and positives w; the weighted sum
    is divided by #known, not by the sum of weights. Without a known pixel the loss is 0.
    """

    def forward(self, logits: Tensor, label: Tensor, per_sample: bool = False) -> Tensor:
        expect_classes(self, logits, label, 2)
        known = (label != IGNORE).flatten(1).sum(1).to(logits.dtype)
        negative = (label == 0).flatten(1).sum(1).to(logits.dtype)
        if not per_sample:
            negative, known_total = negative.sum(), known.sum()
            positive_weight = (negative / known_total.clamp_min(1)).expand_as(known)
        else:
            positive_weight = negative / known.clamp_min(1)
        pixel = F.cross_entropy(logits, label, ignore_index=IGNORE, reduction='none')
        weight = torch.where(label == 1, positive_weight[:, None, None], 1 - positive_weight[:, None, None])
        return mean_over_valid((pixel * weight).flatten(1).sum(1), known, per_sample)


@MODELS.register_module()
class WeightedBinaryCrossEntropy(nn.Module):
    """Sigmoid cross-entropy with fixed weights: mean over known pixels of w·y·softplus(-x) + (1-w)(1-y)·softplus(x).

    Args:
        positive_weight: w, between 0 and 1.
    """

    def __init__(self, positive_weight: float = 0.95) -> None:
        super().__init__()
        self.positive_weight = positive_share(type(self).__name__, positive_weight)

    def forward(self, logits: Tensor, label: Tensor, per_sample: bool = False) -> Tensor:
        expect_classes(self, logits, label, 1)
        x, known, w = logits[:, 0], label != IGNORE, self.positive_weight
        pixel = torch.where(label == 1, w * F.softplus(-x), (1 - w) * F.softplus(x))
        pixel = torch.where(known, pixel, pixel.new_zeros(()))
        return mean_over_valid(pixel.flatten(1).sum(1), known.flatten(1).sum(1), per_sample)


@MODELS.register_module()
class ThresholdedBinaryCrossEntropy(nn.Module):
    """Sigmoid cross-entropy of MTI-Net's code: every label of at least 0.5 is positive, 255 (unknown) included.

    The sum of w·y·softplus(-x) + (1-w)(1-y)·softplus(x) is divided by the number of all pixels.

    Args:
        positive_weight: w, between 0 and 1; None: the share of negative pixels of the batch (or of the sample).
    """

    def __init__(self, positive_weight: float | None = None) -> None:
        super().__init__()
        name = type(self).__name__
        self.positive_weight = None if positive_weight is None else positive_share(name, positive_weight)

    def forward(self, logits: Tensor, label: Tensor, per_sample: bool = False) -> Tensor:
        expect_classes(self, logits, label, 1)
        x, positive = logits[:, 0], label >= 1
        over = (1, 2) if per_sample else (0, 1, 2)
        w: float | Tensor
        w = (~positive).to(x.dtype).mean(over, keepdim=True) if self.positive_weight is None else self.positive_weight
        return (
            torch.where(positive, F.softplus(-x), 0.0) * w + torch.where(positive, 0.0, F.softplus(x)) * (1 - w)
        ).mean(over)
