"""Decoders: multi-level features → a raw map per task."""

from .base import Decoder
from .plain import PlainDecoder

__all__ = ['Decoder', 'PlainDecoder']
