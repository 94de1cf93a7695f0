"""Transforms: what happens to images and labels between the dataset and the model."""

from .base import Transform
from .colour_step import ColourStep
from .formatting import PackMTLInputs
from .geometry import CentredPad, RandomCrop, RandomFlip, RandomScale, Resize
from .image_ops import RandomImageOps
from .jitter import ColorJitter
from .mtan import RandomScaleCrop
from .photometric import PhotoMetricDistortion
from .resample import PrefixSampleId, RandomVerticalFlip, ResampleNearest

__all__ = [
    'CentredPad',
    'ColorJitter',
    'ColourStep',
    'PackMTLInputs',
    'PhotoMetricDistortion',
    'PrefixSampleId',
    'RandomCrop',
    'RandomFlip',
    'RandomImageOps',
    'RandomScale',
    'RandomScaleCrop',
    'RandomVerticalFlip',
    'ResampleNearest',
    'Resize',
    'Transform',
]
