"""DeMT (AAAI 2023): deformable mixers per task, and attention of every pixel to its task tokens."""

from .converter import DeMTConverter
from .decoder import DeMTDecoder

__all__ = ['DeMTConverter', 'DeMTDecoder']
