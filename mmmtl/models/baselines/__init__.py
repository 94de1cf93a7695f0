"""Plain multi-task decoders, without diffusion."""

from .conv_heads import ConvHeads
from .decode_heads import DecodeHeads
from .plain import PlainDecoder

__all__ = ['ConvHeads', 'DecodeHeads', 'PlainDecoder']
