"""MQTransformer (2022): a few learned queries per task read its map, exchange, and are read back."""

from .decoder import MQTransformerDecoder

__all__ = ['MQTransformerDecoder']
