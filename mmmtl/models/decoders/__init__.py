"""Decoders: multi-level features → a raw map per task."""

from .base import Decoder
from .diffusionmtl import DiffusionMTLDecoder
from .plain import PlainDecoder

__all__ = ['Decoder', 'DiffusionMTLDecoder', 'PlainDecoder']
