"""ATRC (ICCV 2021): every pair of tasks exchanges one kind of context, found by search."""

from .converter import ATRCConverter
from .decoder import ATRCDecoder
from .regions import ClassRegions, DirectionRegions, IntervalRegions
from .search import ATRCSearchDecoder

__all__ = ['ATRCConverter', 'ATRCDecoder', 'ATRCSearchDecoder', 'ClassRegions', 'DirectionRegions', 'IntervalRegions']
