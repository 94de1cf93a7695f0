"""Plain multi-task decoders, without diffusion."""

from .conv_heads import ConvHeads
from .plain import PlainDecoder

__all__ = ['ConvHeads', 'PlainDecoder']
