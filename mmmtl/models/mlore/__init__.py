"""MLoRE (CVPR 2024): a mixture of low-rank experts that the tasks share, level by level."""

from mmmtl.models.layers.mlore import MLoREConditions

from .converter import MLoREConverter
from .decoder import MLoREDecoder

__all__ = ['MLoREConditions', 'MLoREConverter', 'MLoREDecoder']
