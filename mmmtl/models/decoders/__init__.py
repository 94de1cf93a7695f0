"""Decoders: multi-level features → a raw map per task."""

from .base import Decoder
from .conv_heads import ConvHeads
from .diffusionmtl import DiffusionMTLDecoder
from .mlore import MLoREConditions
from .plain import PlainDecoder
from .taskdiffusion import TaskDiffusionDecoder
from .taskdiffusion_conditions import ConvConditions
from .xtc import XTC

__all__ = [
    'ConvConditions',
    'ConvHeads',
    'Decoder',
    'DiffusionMTLDecoder',
    'MLoREConditions',
    'PlainDecoder',
    'TaskDiffusionDecoder',
    'XTC',
]
