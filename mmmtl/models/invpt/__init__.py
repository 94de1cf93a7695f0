"""InvPT (ECCV 2022): an inverted pyramid transformer in which all pixels of all tasks attend to each other."""

from .converter import InvPTConverter
from .decoder import InvPTDecoder

__all__ = ['InvPTConverter', 'InvPTDecoder']
