"""Datasets, their transforms and the samplers that decide which labels are used."""

from . import transforms
from .base import MTLDataset
from .camvid import CamVid
from .diorama import Diorama
from .folder import FolderDataset
from .label_samplers import FullLabels, LabelMap, LabelSampler, OneLabel, RandomLabels
from .mixed import MixedDataset
from .mtan import NYUDMTAN, CityscapesMTAN
from .nyudv2 import NYUDv2
from .pascal_context import PascalContext

__all__ = [
    'CamVid', 'CityscapesMTAN', 'Diorama', 'FolderDataset', 'FullLabels', 'LabelMap', 'LabelSampler', 'MTLDataset',
    'MixedDataset', 'NYUDMTAN', 'NYUDv2', 'OneLabel', 'PascalContext', 'RandomLabels', 'transforms',
]  # fmt: skip
