"""DiffusionMTL (CVPR 2024): a denoiser over initial predictions or features of partially labelled tasks."""

from .converter import DiffusionMTLConverter
from .decoder import DiffusionMTLDecoder
from .denoiser import CrossDenoiser

__all__ = ['CrossDenoiser', 'DiffusionMTLConverter', 'DiffusionMTLDecoder']
