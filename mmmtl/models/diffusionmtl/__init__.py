"""DiffusionMTL (CVPR 2024): a denoiser over initial predictions or features of partially labelled tasks."""

from .decoder import DiffusionMTLDecoder

__all__ = ['DiffusionMTLDecoder']
