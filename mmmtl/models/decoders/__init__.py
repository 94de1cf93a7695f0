"""Decoders: multi-level features → a raw map per task."""

from .base import Decoder
from .diffusionmtl import DiffusionMTLDecoder
from .mlore import MLoREConditions
from .plain import PlainDecoder
from .taskdiffusion import TaskDiffusionDecoder
from .taskdiffusion_conditions import ConvConditions

__all__ = ['ConvConditions', 'Decoder', 'DiffusionMTLDecoder', 'MLoREConditions', 'PlainDecoder', 'TaskDiffusionDecoder']
