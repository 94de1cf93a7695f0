"""Losses on raw network outputs; every one knows which pixels of a label are unknown."""

from .cosine import CosineDistance
from .cross_entropy import BalancedCrossEntropy, CrossEntropy, ThresholdedBinaryCrossEntropy, WeightedBinaryCrossEntropy
from .regression import MaskedL1, MaskedL2

__all__ = [
    'BalancedCrossEntropy',
    'CosineDistance',
    'CrossEntropy',
    'MaskedL1',
    'MaskedL2',
    'ThresholdedBinaryCrossEntropy',
    'WeightedBinaryCrossEntropy',
]
