"""Evaluation: registered metrics (:mod:`mmmtl.evaluation.metrics`) over pure functions on arrays (``functional``)."""

from .metrics import (
    BoundaryMeasure,
    DepthError,
    EndPointError,
    ExternalMetric,
    ImageError,
    MeanIoU,
    MultiTaskMetric,
    NormalsError,
    Records,
    SaliencyMeasure,
    TaskMetric,
)

__all__ = [
    'BoundaryMeasure',
    'DepthError',
    'EndPointError',
    'ExternalMetric',
    'ImageError',
    'MeanIoU',
    'MultiTaskMetric',
    'NormalsError',
    'Records',
    'SaliencyMeasure',
    'TaskMetric',
]
