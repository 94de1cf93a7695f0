"""Datasets, their transforms and the samplers that decide which labels are used."""

from . import transforms
from .base import MTLDataset
from .camvid import CamVid
from .diorama import Diorama
from .folder import FolderDataset
from .label_samplers import FullLabels, LabelMap, LabelSampler, OneLabel, RandomLabels

__all__ = [
    'CamVid', 'Diorama', 'FolderDataset', 'FullLabels', 'LabelMap', 'LabelSampler', 'MTLDataset', 'OneLabel',
    'RandomLabels', 'transforms',
]  # fmt: skip
