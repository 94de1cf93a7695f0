"""Transforms: what happens to images and labels between the dataset and the model."""

from .base import Transform
from .formatting import PackMTLInputs
from .geometry import CentredPad, RandomCrop, RandomFlip, RandomScale, Resize
from .mtan import RandomScaleCrop
from .photometric import Normalize, PhotoMetricDistortion

__all__ = [
    'CentredPad', 'Normalize', 'PackMTLInputs', 'PhotoMetricDistortion', 'RandomCrop', 'RandomFlip', 'RandomScale',
    'RandomScaleCrop', 'Resize', 'Transform',
]  # fmt: skip
