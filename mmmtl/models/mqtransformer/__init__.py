"""MQTransformer (2022): a few learned queries per task read its map, exchange, and are read back."""

from .converter import MQTransformerConverter
from .decoder import MQTransformerDecoder

__all__ = ['MQTransformerConverter', 'MQTransformerDecoder']
