"""Datasets, their transforms and the samplers that decide which labels are used."""

from mmmtl.datasets.diorama.dataset import Diorama

from . import transforms
from .base import MTLDataset
from .camvid import CamVid
from .cityscapes import Cityscapes
from .diode import DIODE
from .flyingthings3d import FlyingThings3D
from .folder import FolderDataset
from .hub_dataset import HubDataset
from .hypersim import Hypersim
from .indexed import IndexedDataset
from .kitti2015 import KITTI2015
from .kitti_depth import KITTIDepth
from .label_samplers import FullLabels, LabelMap, LabelSampler, OneLabel, RandomLabels
from .mid import MIDIntrinsics
from .mixed import ClassBalancedDataset, MixedDataset, RepeatDataset
from .mtan import NYUDMTAN, CityscapesMTAN
from .nyudv2 import NYUDv2
from .pascal_context import PascalContext
from .pseudo_labels import PseudoLabels
from .published_labels import PublishedLabels
from .segmentation_set import SegmentationSet
from .shard_stream import ShardStream
from .vkitti2 import VKITTI2

__all__ = [
    'CamVid',
    'Cityscapes',
    'CityscapesMTAN',
    'ClassBalancedDataset',
    'DIODE',
    'Diorama',
    'FlyingThings3D',
    'FolderDataset',
    'FullLabels',
    'HubDataset',
    'Hypersim',
    'IndexedDataset',
    'KITTI2015',
    'KITTIDepth',
    'LabelMap',
    'LabelSampler',
    'MIDIntrinsics',
    'MTLDataset',
    'MixedDataset',
    'NYUDMTAN',
    'NYUDv2',
    'OneLabel',
    'PascalContext',
    'PseudoLabels',
    'PublishedLabels',
    'RandomLabels',
    'RepeatDataset',
    'SegmentationSet',
    'ShardStream',
    'VKITTI2',
    'transforms',
]
