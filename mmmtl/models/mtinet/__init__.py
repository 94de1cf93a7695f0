"""MTI-Net (ECCV 2020): task interaction at every scale of a pyramid, from coarse to fine."""

from .converter import MTINetConverter
from .decoder import MTINetDecoder

__all__ = ['MTINetConverter', 'MTINetDecoder']
