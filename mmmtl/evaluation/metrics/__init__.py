"""Registered metrics: one class per kind of map, and the one that evaluates all tasks together."""

from .base import TaskMetric
from .benchmarks import BenchmarkMetric
from .boundary import BoundaryLoss, BoundaryMeasure
from .depth import DepthError
from .external import ExternalMetric
from .flow import EndPointError
from .images import ImageError
from .multi_task import MultiTaskMetric
from .normals import NormalsError
from .records import ImageTable, Records
from .saliency import SaliencyMeasure
from .segmentation import MeanIoU

__all__ = [
    'BenchmarkMetric',
    'BoundaryLoss',
    'BoundaryMeasure',
    'DepthError',
    'EndPointError',
    'ExternalMetric',
    'ImageError',
    'ImageTable',
    'MeanIoU',
    'MultiTaskMetric',
    'NormalsError',
    'Records',
    'SaliencyMeasure',
    'TaskMetric',
]
